#include "ops/attention_mask.h"

#include "tensor/convert.h"
#include "tensor/quant_params.h"

namespace hussar {

Status check_attention_mask(const InferContext& context, size_t input, const Dims& scores) {
  if (!context.has(input)) return {};
  const DType dtype = context.dtype(input), of_queries = context.dtype(0);
  // Beside bytes, halves serve, too.
  const bool may_be_half = is_quantized(of_queries) ? is_half(dtype) : dtype == of_queries;
  if (dtype != DType::kFloat32 && !may_be_half)
    return context.fail("the mask must be float32 or of the type of the queries");
  const Dims* mask = context.dims(input);
  bool fits = mask == nullptr || mask->size() <= 4;
  for (size_t i = 0; fits && mask != nullptr && i < mask->size(); ++i) {
    const Dim& have = (*mask)[i];
    const Dim& want = scores[i + 4 - mask->size()];
    fits = have.is(1) || !have.is_constant() || !want.is_constant() || have == want;
  }
  if (!fits) return context.fail("a mask of shape {} does not fit {}", to_string(*mask), to_string(scores));
  return {};
}

}  // namespace hussar
