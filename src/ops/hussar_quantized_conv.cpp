// hussar.QuantizedConv(x, w, w_scale, bias?, x_scale?, x_zero_point?): Conv of uint8 x and int8 w, or of both in FP8;
// see quantized_product.h. Padding is x_zero_point.
#include <cmath>

#include "ops/conv.h"
#include "ops/quantized_product.h"

namespace hussar {

static Status infer(InferContext& context) {
  const DType dtype = HUSSAR_TRY(check_quantized(context));
  return infer_conv(context, 0, 1, 3, dtype);
}

// As that of hussar.QuantizedMatMul.
template <class T>
static Status evaluate_in(EvalContext& context) {
  ConvShape shape = HUSSAR_TRY(conv_shape(context.node, context.shape(0), context.shape(1), context.output().shape()));
  const int64_t zero_point = x_zero_point_of(context);
  std::vector<T> x(static_cast<size_t>(context.input(0).elements()));
  load_elements<T>(context.input(0), 0, context.input(0).elements(), x.data());
  for (T& value : x) value -= static_cast<T>(zero_point);
  auto w = context.read<T>(1);
  const std::vector<float> scales = product_scales(context);
  const auto filters = static_cast<size_t>(shape.groups * shape.outputs);
  if (scales.size() != filters) return context.fail("{} scales for {} output channels", scales.size(), filters);
  std::vector<float> bias(filters, 0);
  if (context.has(3)) load_elements<float>(context.input(3), 0, context.input(3).elements(), bias.data());
  std::vector<float> y(static_cast<size_t>(context.output().elements()));
  const int64_t plane_size = shape.output.elements();
  convolve<T>(shape, x.data(), w.data(), context.workspace(), [&](int64_t n, int64_t m, const T* plane) {
    float* out = y.data() + (n * shape.groups * shape.outputs + m) * plane_size;
    for (int64_t i = 0; i < plane_size; ++i) out[i] = std::fma(static_cast<float>(plane[i]), scales[m], bias[m]);
  });
  return finish_quantized(context, std::move(y));
}

static Status evaluate(EvalContext& context) {
  return context.input(0).dtype() == kFp8 ? evaluate_in<double>(context) : evaluate_in<int64_t>(context);
}

static double flops(const Node& node) { return conv_flops(node, 1); }

extern const OpDef hussar_quantized_conv_op = {.name = "hussar.QuantizedConv",
                                               .min_inputs = 3,
                                               .max_inputs = 6,
                                               .traits = kOwnProgram,
                                               .infer = infer,
                                               .evaluate = evaluate,
                                               .flops = flops};

}  // namespace hussar
