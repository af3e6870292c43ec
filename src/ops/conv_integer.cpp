// ConvInteger: the convolution of (x - x_zero_point) with (w - w_zero_point) as int32; padding is x_zero_point.
#include "ops/conv.h"
#include "ops/quantize.h"

namespace hussar {

static Status infer(InferContext& context) {
  for (size_t i : {0, 1, 2, 3}) HUSSAR_TRY(check_integer(context, i, 16));
  HUSSAR_TRY(check_parameter(context, 2, nullptr));
  HUSSAR_TRY(check_parameter(context, 3, leading_dim(context, 1)));
  return infer_conv(context, 0, 1, 99, DType::kInt32);
}

static Status evaluate(EvalContext& context) {
  ConvShape shape = HUSSAR_TRY(conv_shape(context.node, context.shape(0), context.shape(1), context.output().shape()));
  std::vector<int64_t> x = centered(context, 0, 2), w = centered(context, 1, 3);
  auto y = context.write<int64_t>();
  int64_t plane_size = shape.output.elements();
  convolve<int64_t>(shape, x.data(), w.data(), context.workspace(), [&](int64_t n, int64_t m, const int64_t* plane) {
    std::copy_n(plane, plane_size, y.data() + (n * shape.groups * shape.outputs + m) * plane_size);
  });
  return {};
}

static double flops(const Node& node) { return conv_flops(node, 1); }

extern const OpDef conv_integer_op = {
    .name = "ConvInteger", .min_inputs = 2, .max_inputs = 4, .infer = infer, .evaluate = evaluate, .flops = flops};

}  // namespace hussar
