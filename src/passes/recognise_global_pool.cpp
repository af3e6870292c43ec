// The mean or maximum over all spatial axes is a global pooling, which any layout can do.
#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

bool recognise(Graph& graph, Node* node) {
  const char* pooling = node->op == "ReduceMean"  ? "GlobalAveragePool"
                        : node->op == "ReduceMax" ? "GlobalMaxPool"
                                                  : nullptr;
  // Rank 3 is left alone: it is as likely a sequence as a one-dimensional picture.
  if (pooling == nullptr || node->program || node->inputs[0]->rank() < 4) return false;
  auto axes = reduced_axes(*node);
  Value* x = node->inputs[0];
  if (!axes || static_cast<int>(axes->size()) != x->rank() - 2 || (*axes)[0] != 2 || !is_floating(x->dtype))
    return false;
  if (keeps_dims(*node)) {
    replace_node(graph, node, pooling, {x});
    return true;
  }
  Value* pooled = add_operation(graph, node->name, pooling, {x}, {}, x->dtype);
  replace_node(graph, node, "Squeeze", {pooled, add_integers(graph, node->name + "/axes", *axes)});
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return recognise(context.graph, node); });
}

}  // namespace

extern const Pass recognise_global_pool_pass = {
    .name = "recognise_global_pool",
    .summary = "ReduceMean(x[NxCxHxW], [2, 3]) => GlobalAveragePool(x); ReduceMax too",
    .run = run};

}  // namespace hussar
