// Chains of Reshape, Squeeze, Unsqueeze and Flatten become one Reshape, and computed target shapes become constants
// wherever the dimensions say the same: [batch, seq, 12, 64] from [batch, seq, 768] is [0, 0, 12, 64].
#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

bool is_view(const Node* node) {
  return node != nullptr && !node->program &&
         (node->op == "Reshape" || node->op == "Squeeze" || node->op == "Unsqueeze" || node->op == "Flatten");
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  return rewrite_each(graph, [&](Node* node) {
    if (!is_view(node)) return false;
    Value* from = node->inputs[0];
    while (is_view(from->producer)) from = from->producer->inputs[0];
    bool is_chain = from != node->inputs[0];
    bool is_computed = node->op == "Reshape" && !node->inputs[1]->is_constant();
    if ((!is_chain && !is_computed) || from->is_constant() || !from->dims || !node->output()->dims) return false;
    if (is_chain && same_dims(from, node->output()) && bypass(graph, node, from)) return true;
    auto target = reshape_target(*from->dims, *node->output()->dims);
    if (!target) return false;
    replace_node(graph, node, "Reshape", {from, add_integers(graph, node->name + "/shape", *target)});
    return true;
  });
}

}  // namespace

extern const Pass simplify_reshape_pass = {
    .name = "simplify_reshape",
    .summary = "Unsqueeze(Squeeze(x)) => Reshape(x); Reshape(x[BxSx6], Concat(B, S, 2, 3)) => Reshape(x, [0, 0, 2, 3])",
    .run = run};

}  // namespace hussar
