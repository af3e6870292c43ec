// Optional outputs that nobody reads are omitted: kernels need not compute them.
#include <algorithm>

#include "ops/op_def.h"
#include "passes/pass.h"

namespace hussar {

static Result<int> run(PassContext& context) {
  int rewrites = 0;
  for (Node* node : context.graph.snapshot()) {
    const OpDef* op = find_op(node->op);
    // Where any number of outputs is allowed, how many there are means something.
    if (op == nullptr || op->max_outputs < 0 || !node->bodies.empty()) continue;
    for (size_t i = static_cast<size_t>(std::max(op->min_outputs, 1)); i < node->outputs.size(); ++i) {
      Value* output = node->outputs[i];
      if (output == nullptr || context.graph.use_count(output) > 0) continue;
      output->producer = nullptr;
      node->outputs[i] = nullptr;
      ++rewrites;
    }
    while (node->outputs.size() > 1 && node->outputs.back() == nullptr) node->outputs.pop_back();
  }
  return rewrites;
}

extern const Pass drop_unused_outputs_pass = {
    .name = "drop_unused_outputs", .summary = "y, unused = MaxPool(x) => y = MaxPool(x)", .run = run};

}  // namespace hussar
