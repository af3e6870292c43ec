// hussar.NormToBytes(x, scale, bias?): LayerNormalization, or RMSNormalization with center=0, over the axes from `axis`
// on. Output 0, which may be missing, is the result, like scale; output 1 the same as bytes, by y_scale and y_zero_point
// (ops/quantized_product.h).
#include "ops/normalize.h"
#include "ops/quantized_product.h"

namespace hussar {

static Status infer(InferContext& context) {
  const DType bytes = HUSSAR_TRY(check_byte_meanings(context));
  if (bytes != DType::kUInt8) return context.fail("has no y_scale");
  const Dims* x = context.dims(0);
  HUSSAR_TRY(infer_trailing_normalization(context, context.dtype(1)));
  if (x == nullptr)
    context.set_unknown(1, bytes);
  else
    context.set(1, bytes, *x);
  return {};
}

static Status evaluate(EvalContext& context) {
  Tensor real(DType::kFloat32, context.shape(0));
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < context.input_count(); ++i) inputs.push_back(context.has(i) ? context.input(i) : Tensor());
  EvalContext normalization(context.node, std::move(inputs), {real}, nullptr);
  HUSSAR_TRY(normalize_trailing(normalization, context.attributes.get_int("center", 1) != 0));
  if (context.wants(0)) store_elements<float>(context.output(0), 0, real.elements(), real.data<float>());
  store_bytes(context.attributes, {real.data<float>(), static_cast<size_t>(real.elements())}, context.output(1));
  return {};
}

extern const OpDef hussar_norm_to_bytes_op = {.name = "hussar.NormToBytes",
                                              .min_inputs = 2,
                                              .max_inputs = 3,
                                              .max_outputs = 2,
                                              .infer = infer,
                                              .evaluate = evaluate};

}  // namespace hussar
