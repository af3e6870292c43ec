// hussar.NormToBytes(x, scale, bias?): LayerNormalization, or RMSNormalization with center=0, over the axes from `axis`
// on, as bytes by y_scale and y_zero_point (ops/quantized_product.h). Output 1 is the same as numbers, like scale.
#include "ops/normalize.h"
#include "ops/quantized_product.h"

namespace hussar {

static Status infer(InferContext& context) {
  const DType bytes = HUSSAR_TRY(check_byte_meanings(context));
  if (!is_quantized(bytes)) return context.fail("has no y_scale");
  const Dims* x = context.dims(0);
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
  store_bytes(context.attributes, {real.data<float>(), static_cast<size_t>(real.elements())}, context.output());
  return {};
}

extern const OpDef hussar_norm_to_bytes_op = {.name = "hussar.NormToBytes",
                                              .min_inputs = 2,
                                              .max_inputs = 3,
                                              .max_outputs = 2,
                                              .infer = infer,
                                              .evaluate = evaluate};

}  // namespace hussar
