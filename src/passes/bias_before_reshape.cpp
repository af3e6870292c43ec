// A bias for every head is one for the width of the projection, which a product adds by itself:
//   Add(Reshape(x[B x S x 12], [B, S, 3, 4]), bias[3 x 4])  =>  Reshape(Add(x, bias[12]))
#include <algorithm>

#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// Whether the Reshape only cuts the last dimension, into the dimensions of `bias`.
bool cuts_into(const Node* reshape, const Value* bias) {
  const Value* from = reshape->inputs[0];
  const Value* to = reshape->output();
  if (!from->dims || !to->dims || from->rank() < 2 || bias->rank() < 2) return false;
  const size_t kept = from->dims->size() - 1;
  auto same = [](const Dim& a, const Dim& b) { return a == b; };
  return to->dims->size() == kept + bias->dims->size() && from->dims->back().is(bias->constant->elements()) &&
         std::equal(from->dims->begin(), from->dims->end() - 1, to->dims->begin(), same) &&
         std::equal(bias->dims->begin(), bias->dims->end(), to->dims->begin() + static_cast<int64_t>(kept), same);
}

bool rewrite(Graph& graph, Node* node) {
  if (node->op != "Add" || node->program) return false;
  for (size_t side = 0; side < 2; ++side) {
    Value* bias = node->inputs[side];
    Node* reshape = produced_by(node->inputs[1 - side], "Reshape");
    if (!bias->is_constant() || reshape == nullptr || reshape->program || !cuts_into(reshape, bias)) continue;
    if (only_user(graph, reshape->output()) != node || produced_by(reshape->inputs[0], "MatMul") == nullptr) continue;
    Value* x = reshape->inputs[0];
    Value* flat =
        graph.add_constant(graph.unique_name(bias->name), bias->constant->reshaped({bias->constant->elements()}));
    Value* sum = add_operation(graph, node->name, "Add", {x, flat}, {}, x->dtype, x->dims);
    replace_node(graph, node, "Reshape", {sum, reshape->inputs[1]}, reshape->attributes);
    return true;
  }
  return false;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return rewrite(context.graph, node); });
}

}  // namespace

extern const Pass bias_before_reshape_pass = {
    .name = "bias_before_reshape",
    .summary = "Add(Reshape(x[BxSx12], [0, 0, 3, 4]), b[3x4]) => Reshape(Add(x, b[12]), [0, 0, 3, 4])",
    .run = run,
    .after = "simplify_reshape"};

}  // namespace hussar
