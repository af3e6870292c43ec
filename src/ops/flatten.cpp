// Flatten: two dimensions, the product of those before `axis` and the product of the rest.
#include "ops/arguments.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  if (dims == nullptr) {
    context.set_rank(0, context.dtype(0), 2);
    return {};
  }
  auto rank = static_cast<int64_t>(dims->size());
  int64_t axis = context.attributes.get_int("axis", 1);
  if (axis < -rank || axis > rank) return context.fail("axis {} is out of range for rank {}", axis, rank);
  auto middle = dims->begin() + (axis < 0 ? axis + rank : axis);
  Dim outer = HUSSAR_TRY(checked_product(context, Dims(dims->begin(), middle)));
  Dim inner = HUSSAR_TRY(checked_product(context, Dims(middle, dims->end())));
  context.set(0, context.dtype(0), {outer, inner});
  return {};
}

extern const OpDef flatten_op = {
    .name = "Flatten", .min_inputs = 1, .max_inputs = 1, .traits = kView, .infer = infer, .evaluate = evaluate_view};

}  // namespace hussar
