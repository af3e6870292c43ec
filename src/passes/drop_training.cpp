// Dropout and Identity do nothing at inference: their users read their input.
#include "passes/pass.h"

namespace hussar {

static Result<int> run(PassContext& context) {
  int rewrites = 0;
  for (Node* node : context.graph.snapshot()) {
    bool is_identity = node->op == "Identity";
    bool is_dropout = node->op == "Dropout" && (node->input(2) == nullptr || node->input(2)->is_constant()) &&
                      (node->output(1) == nullptr || context.graph.use_count(node->output(1)) == 0);
    if (is_dropout && node->input(2) != nullptr) is_dropout = *node->input(2)->constant->data<bool>() == false;
    if (!is_identity && !is_dropout) continue;
    Value* from = node->outputs[0];
    Value* to = node->inputs[0];
    // An Identity between a graph input (or constant, or another output) and an output gives that output its name.
    bool is_public = context.graph.is_output(from);
    if (is_public && (to->producer == nullptr || context.graph.is_output(to))) continue;
    context.graph.replace_uses(from, to);
    context.graph.remove(node);
    ++rewrites;
  }
  return rewrites;
}

extern const Pass drop_training_pass = {
    .name = "drop_training", .summary = "Dropout(x) => x, Identity(x) => x", .run = run};

}  // namespace hussar
