// Unsqueeze: with a new dimension 1 at each of `axes`, which count in the output.
#include "ops/arguments.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static constexpr AttributeInput kAttributeInputs[] = {{"axes", 1, 13}};

static Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  auto given = HUSSAR_TRY(integers_argument(context, 1));
  context.set_unknown(0, context.dtype(0));
  if (dims == nullptr) return {};
  if (!given) {
    if (auto count = list_length(context, 1)) {
      context.set_rank(0, context.dtype(0), static_cast<int>(dims->size()) + *count);
    }
    return {};
  }
  auto rank = static_cast<int>(dims->size() + given->size());
  Ints axes = HUSSAR_TRY(context.normalize_axes(*given, rank));
  Dims out(static_cast<size_t>(rank), Dim(-1));
  for (int64_t axis : axes) out[static_cast<size_t>(axis)] = Dim(1);
  auto next = dims->begin();
  for (Dim& dim : out) {
    if (dim.is(-1)) dim = *next++;
  }
  context.set(0, context.dtype(0), std::move(out));
  infer_view_elements(context);
  return {};
}

extern const OpDef unsqueeze_op = {.name = "Unsqueeze",
                                   .min_inputs = 2,
                                   .max_inputs = 2,
                                   .traits = kView,
                                   .attribute_inputs = kAttributeInputs,
                                   .infer = infer,
                                   .evaluate = evaluate_view};

}  // namespace hussar
