// hussar.NormToBytes(x, scale, bias?, factors?): LayerNormalization, or RMSNormalization with center=0, over the axes
// from `axis` on, times `factors`, float32 with one number per index of the last axis, as bytes by y_scale and
// y_zero_point (ops/quantized_product.h). Output 1 is the normalization as numbers, without the factors, like scale.
#include "ops/normalize.h"
#include "ops/quantized_product.h"

namespace hussar {

static Status infer(InferContext& context) {
  const DType bytes = HUSSAR_TRY(check_byte_meanings(context));
  if (!is_quantized(bytes)) return context.fail("has no y_scale");
  const Dims* x = context.dims(0);
  if (context.has(3)) {
    const Dims* factors = context.dims(3);
    const bool fits = factors == nullptr || x == nullptr || (factors->size() == 1 && factors->front() == x->back());
    if (context.dtype(3) != DType::kFloat32 || !fits)
      return context.fail("has factors that are not float32 [last dimension of x]");
  }
  HUSSAR_TRY(infer_trailing_normalization(context, bytes));
  if (context.output_count() < 2) return {};
  if (x == nullptr)
    context.set_unknown(1, context.dtype(1));
  else
    context.set(1, context.dtype(1), *x);
  return {};
}

static Status evaluate(EvalContext& context) {
  Tensor real(DType::kFloat32, context.shape(0));
  EvalContext normalization(context.node, context.inputs(), {&real, 1}, context.evaluation());
  HUSSAR_TRY(normalize_trailing(normalization, context.attributes.get_int("center", 1) != 0));
  if (context.wants(1)) store_elements<float>(context.output(1), 0, real.elements(), real.data<float>());
  if (context.has(3)) {
    const Tensor& factors = context.input(3);
    const int64_t length = factors.elements();
    for (int64_t i = 0; i < real.elements(); ++i) real.data<float>()[i] *= factors.data<float>()[i % length];
  }
  store_bytes(context.attributes, {real.data<float>(), static_cast<size_t>(real.elements())}, context.output());
  return {};
}

extern const OpDef hussar_norm_to_bytes_op = {.name = "hussar.NormToBytes",
                                              .min_inputs = 2,
                                              .max_inputs = 4,
                                              .max_outputs = 2,
                                              .infer = infer,
                                              .evaluate = evaluate};

}  // namespace hussar
