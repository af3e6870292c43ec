// GatherElements: out[i][j] = data[indices[i][j]][j] for axis 0, and so on for other axes and ranks.
#include "ops/movement.h"
#include "ops/scatter.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(check_element_indices(context, 0, 1));
  context.outputs[0].dtype = context.dtype(0);
  context.outputs[0].dims = context.info(1).dims;
  return {};
}

static Status evaluate(EvalContext& context) {
  Ints offsets = HUSSAR_TRY(element_offsets(context, 0, 1));
  return dispatch_width(context.input(0).dtype(), [&](auto tag) -> Status {
    using Word = typename decltype(tag)::type;
    const Word* data = context.input(0).data<Word>();
    Word* out = context.output().data<Word>();
    for (size_t i = 0; i < offsets.size(); ++i) out[i] = data[offsets[i]];
    return {};
  });
}

extern const OpDef gather_elements_op = {
    .name = "GatherElements", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
