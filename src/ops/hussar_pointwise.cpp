// hussar.Pointwise: a fused chain of elementwise operators, written by passes as Node::program. With program_inputs 1,
// input 0 has the output's shape and starts in register 0; with 0, every input is an operand.
#include "ops/elementwise.h"
#include "ops/scalar_program.h"

namespace hussar {

static Status evaluate(EvalContext& context) {
  if (!context.node.program || !is_valid(*context.node.program)) return context.fail("has no valid program");
  return evaluate_program(context, nullptr);
}

extern const OpDef hussar_pointwise_op = {.name = "hussar.Pointwise",
                                          .min_inputs = 1,
                                          .max_inputs = -1,
                                          .traits = kElementwise | kChannelsLastOk | kOwnProgram,
                                          .infer = infer_broadcast,
                                          .evaluate = evaluate};

}  // namespace hussar
