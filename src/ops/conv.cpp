// Conv: grouped, strided, dilated convolution in any number of spatial dimensions.
#include "ops/conv.h"

namespace hussar {

// A GPU may read a picture of floats for filters of halves, as which it multiplies.
static Status infer(InferContext& context) { return infer_conv(context, 0, 1, 2, context.dtype(1)); }

static Status evaluate(EvalContext& context) {
  ConvShape shape = HUSSAR_TRY(conv_shape(context.node, context.shape(0), context.shape(1), context.output().shape()));
  auto x = context.read<double>(0), w = context.read<double>(1);
  auto y = context.write<double>();
  const int64_t channels = shape.groups * shape.outputs;
  Scratch<double> bias(context.workspace(), channels);
  std::fill_n(bias.data(), channels, 0.0);
  if (context.has(2)) load_elements<double>(context.input(2), 0, context.input(2).elements(), bias.data());
  int64_t plane_size = shape.output.elements();
  auto finish = [&](int64_t n, int64_t m, const double* plane) {
    double* out = y.data() + (n * channels + m) * plane_size;
    for (int64_t i = 0; i < plane_size; ++i) out[i] = plane[i] + bias[m];
  };
  convolve<double>(shape, x.data(), w.data(), context.workspace(), std::ref(finish));
  return {};
}

static double flops(const Node& node) { return conv_flops(node, 1); }

extern const OpDef conv_op = {
    .name = "Conv", .min_inputs = 2, .max_inputs = 3, .infer = infer, .evaluate = evaluate, .flops = flops};

}  // namespace hussar
