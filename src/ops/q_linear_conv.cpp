// QLinearConv: y = saturate(round(sum * x_scale * w_scale / y_scale) + y_zero_point), where sum is the integer
// convolution of the centered operands plus the int32 bias. w_scale and w_zero_point may be per output channel.
#include "ops/conv.h"
#include "ops/quantize.h"

namespace hussar {

static Status infer(InferContext& context) {
  for (size_t i : {0, 2, 3, 5, 7}) HUSSAR_TRY(check_integer(context, i, 16));
  HUSSAR_TRY(check_integer(context, 8, 32));
  for (size_t i : {1, 2, 6, 7}) HUSSAR_TRY(check_parameter(context, i, nullptr));
  for (size_t i : {4, 5}) HUSSAR_TRY(check_parameter(context, i, leading_dim(context, 3)));
  return infer_conv(context, 0, 3, 8, context.dtype(7));
}

static Status evaluate(EvalContext& context) {
  ConvShape shape = HUSSAR_TRY(conv_shape(context.node, context.shape(0), context.shape(3), context.output().shape()));
  std::vector<int64_t> x = centered(context, 0, 2), w = centered(context, 3, 5);
  auto w_scale = context.read<float>(4);
  auto x_scale = static_cast<float>(context.number(1, 1)), y_scale = static_cast<float>(context.number(6, 1));
  auto zero_point = static_cast<int64_t>(context.number(7, 0));
  std::vector<int64_t> bias(static_cast<size_t>(shape.groups * shape.outputs), 0);
  if (context.has(8)) load_elements<int64_t>(context.input(8), 0, context.input(8).elements(), bias.data());
  IntegerRange range = integer_range(context.output().dtype());
  auto y = context.write<int64_t>();
  int64_t plane_size = shape.output.elements();
  convolve<int64_t>(shape, x.data(), w.data(), context.workspace(), [&](int64_t n, int64_t m, const int64_t* plane) {
    int64_t* out = y.data() + (n * shape.groups * shape.outputs + m) * plane_size;
    float scale = x_scale * w_scale[w_scale.size() == 1 ? 0 : m] / y_scale;
    for (int64_t i = 0; i < plane_size; ++i) {
      out[i] = quantize(static_cast<float>(plane[i] + bias[m]) * scale, zero_point, range);
    }
  });
  return {};
}

static double flops(const Node& node) { return conv_flops(node, 3); }

extern const OpDef q_linear_conv_op = {
    .name = "QLinearConv", .min_inputs = 8, .max_inputs = 9, .infer = infer, .evaluate = evaluate, .flops = flops};

}  // namespace hussar
