// Reductions that drop their axes, only for a Reshape to bring them back some elementwise operators later, keep them:
//   Reshape(Sqrt(ReduceSum<keepdims=0>(x)))  =>  Sqrt(ReduceSum<keepdims=1>(x))
// And a sum divided by the number of its elements is a mean.
#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

bool is_reduction(const Node& node) {
  return node.op.rfind("Reduce", 0) == 0 && !node.program && node.input(1) != nullptr && node.input(1)->is_constant();
}

// ReduceSum(x) * (1 / n) => ReduceMean(x).
bool make_mean(Graph& graph, Node* node) {
  if ((node->op != "Mul" && node->op != "Div") || node->program) return false;
  for (size_t side = 0; side < (node->op == "Mul" ? 2U : 1U); ++side) {
    Node* sum = produced_by(node->inputs[side], "ReduceSum");
    auto number = scalar_beside(node->inputs[1 - side], node->inputs[side]);
    if (sum == nullptr || !number || !is_reduction(*sum) || only_user(graph, sum->output()) == nullptr) continue;
    auto axes = reduced_axes(*sum);
    if (!axes || !is_floating(sum->output()->dtype)) continue;
    double count = 1;
    for (int64_t axis : *axes) count *= static_cast<double>(static_dim(sum->inputs[0], static_cast<int>(axis)));
    if (count <= 0 || !is_close(node->op == "Mul" ? *number * count : *number / count, 1)) continue;
    replace_node(graph, node, "ReduceMean", sum->inputs, sum->attributes);
    return true;
  }
  return false;
}

// Reduce<keepdims=0>(x) => Squeeze(Reduce(x)).
bool keep(Graph& graph, Node* node) {
  auto axes = reduced_axes(*node);
  if (!axes || axes->empty() || keeps_dims(*node)) return false;
  Dims dims = *node->inputs[0]->dims;
  for (int64_t axis : *axes) dims[static_cast<size_t>(axis)] = Dim(1);
  Attributes attributes = node->attributes;
  attributes.set("keepdims", int64_t{1});
  Value* kept = add_operation(graph, node->name, node->op, node->inputs, attributes, node->output()->dtype, dims);
  replace_node(graph, node, "Squeeze", {kept, add_integers(graph, node->name + "/axes", *axes)});
  return true;
}

// f(Squeeze(x), Squeeze(y), 2) => Squeeze(f(x, y, 2)).
bool sink(Graph& graph, Node* node) {
  if (!has_trait(find_op(node->op), kElementwise) || node->program || node->outputs.size() != 1) return false;
  std::optional<Ints> axes;
  std::vector<Value*> inputs;
  for (Value* input : node->inputs) {
    Node* squeeze = produced_by(input, "Squeeze");
    auto own_axes = squeeze == nullptr ? std::nullopt : integers_of(squeeze->input(1));
    if (own_axes) {
      if (axes && *axes != *own_axes) return false;
      axes = own_axes;
      inputs.push_back(squeeze->inputs[0]);
    } else if (input != nullptr && number_of(input) && input->rank() == 0) {
      inputs.push_back(input);
    } else {
      return false;
    }
  }
  if (!axes) return false;
  const Value* like = nullptr;
  for (const Value* input : inputs) {
    if (input->rank() == 0) continue;
    if (like != nullptr && !same_dims(input, like)) return false;
    like = input;
  }
  Value* result =
      add_operation(graph, node->name, node->op, inputs, node->attributes, node->output()->dtype, like->dims);
  replace_node(graph, node, "Squeeze", {result, add_integers(graph, node->name + "/axes", *axes)});
  return true;
}

// Reshape(Squeeze(x)) with the dims of x => x.
bool meet(Graph& graph, Node* node) {
  if ((node->op != "Reshape" && node->op != "Unsqueeze") || node->program) return false;
  Node* squeeze = produced_by(node->inputs[0], "Squeeze");
  return squeeze != nullptr && same_dims(squeeze->inputs[0], node->output()) && bypass(graph, node, squeeze->inputs[0]);
}

int edit(Graph& graph) {
  return rewrite_each(graph, [&](Node* node) {
    if (is_reduction(*node)) return keep(graph, node);
    return meet(graph, node) || sink(graph, node);
  });
}

double cost(const Graph& graph) { return static_cast<double>(graph.nodes().size()); }

Result<int> run(PassContext& context) {
  int means = rewrite_each(context.graph, [&](Node* node) { return make_mean(context.graph, node); });
  context.graph.sweep();
  return means + HUSSAR_TRY(rewrite_if_cheaper(context.graph, edit, cost));
}

}  // namespace

extern const Pass keep_reduced_dims_pass = {
    .name = "keep_reduced_dims",
    .summary = "Reshape(Sqrt(ReduceSum<keepdims=0>(x))) => Sqrt(ReduceSum(x)); ReduceSum(x) / n => ReduceMean(x)",
    .run = run};

}  // namespace hussar
