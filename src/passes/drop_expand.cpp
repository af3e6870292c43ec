// Elementwise operators broadcast by themselves: an Expand before one is dropped when the shape stays the same without
// it, and otherwise moves behind it, so that less is computed.
#include <algorithm>

#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// nullopt when some dims are unknown or only running the model tells.
std::optional<Dims> broadcast(const std::vector<Value*>& values) {
  size_t rank = 0;
  for (const Value* value : values) {
    if (value == nullptr || !value->dims) return std::nullopt;
    rank = std::max(rank, value->dims->size());
  }
  Dims result(rank, Dim(1));
  for (const Value* value : values) {
    size_t shift = rank - value->dims->size();
    for (size_t i = 0; i < value->dims->size(); ++i) {
      const Dim& dim = (*value->dims)[i];
      if (dim.is(1) || dim == result[i + shift]) continue;
      if (!result[i + shift].is(1)) return std::nullopt;
      result[i + shift] = dim;
    }
  }
  return result;
}

bool expands_nothing_itself(const Node& node, size_t except) {
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (i != except && !scalar_beside(node.inputs[i], node.inputs[except])) return false;
  }
  return true;
}

// f(Expand(x)) => Expand(f(x)) for an f whose other operands are scalars.
bool sink(Graph& graph, Node* node, size_t index) {
  Node* expand = node->inputs[index]->producer;
  Value* x = expand->inputs[0];
  if (!expands_nothing_itself(*node, index) || !x->dims) return false;
  for (const Value* input : node->inputs) {
    if (input != node->inputs[index] && input->rank() > x->rank()) return false;
  }
  std::vector<Value*> inputs = node->inputs;
  inputs[index] = x;
  Value* small = add_operation(graph, node->name, node->op, inputs, node->attributes, node->output()->dtype, *x->dims);
  replace_node(graph, node, "Expand", {small, expand->inputs[1]});
  return true;
}

bool simplify_user(Graph& graph, Node* node) {
  if (!has_trait(find_op(node->op), kElementwise) || node->program || node->outputs.size() != 1) return false;
  bool changed = false;
  for (size_t i = 0; i < node->inputs.size(); ++i) {
    Node* expand = produced_by(node->inputs[i], "Expand");
    if (expand == nullptr) continue;
    std::vector<Value*> inputs = node->inputs;
    inputs[i] = expand->inputs[0];
    auto dims = broadcast(inputs);
    if (dims && node->output()->dims && *dims == *node->output()->dims) {
      graph.set_input(node, i, expand->inputs[0]);
      unlink_unused(graph, expand);
      changed = true;
    } else if (sink(graph, node, i)) {
      return true;
    }
  }
  return changed;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return simplify_user(context.graph, node); });
}

}  // namespace

extern const Pass drop_expand_pass = {
    .name = "drop_expand", .summary = "Add(x[4x8], Expand(y[1x8], [4, 8])) => Add(x, y)", .run = run};

}  // namespace hussar
