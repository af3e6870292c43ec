// OptionalHasElement: whether its input is there. Of tensors, one that is given is there; the types sequence and
// optional do not reach operators.
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  context.set(0, DType::kBool, {});
  return {};
}

static Status evaluate(EvalContext& context) {
  context.output().data<bool>()[0] = context.has(0);
  return {};
}

extern const OpDef optional_has_element_op = {.name = "OptionalHasElement",
                                              .min_inputs = 0,
                                              .max_inputs = 1,
                                              .traits = kShapeOnly,
                                              .infer = infer,
                                              .evaluate = evaluate};

}  // namespace hussar
