// Softmax from its formula, and without the flattening that opsets before 13 imply.
#include "passes/pass.h"
#include "passes/support/pattern.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

bool keeps_one_axis(const Node& node) {
  auto axes = reduced_axes(node);
  return keeps_dims(node) && axes && axes->size() == 1;
}

const Pattern& softmax() {
  static const Pattern x = any("x");
  static const Pattern largest = named("largest", op("ReduceMax", {x, constant("max_axes")}, keeps_one_axis));
  static const Pattern power = op("Exp", {op("Sub", {x, largest})});
  static const Pattern total = named("total", op("ReduceSum", {power, constant("sum_axes")}, keeps_one_axis));
  static const Pattern pattern = op("Div", {power, total});
  return pattern;
}

// Reshape(Softmax(Flatten(x))) with the innermost axis untouched.
bool drop_flattening(Graph& graph, Node* node) {
  Value* normal = node->inputs[0];
  bool is_log = produced_by(normal, "LogSoftmax") != nullptr;
  Node* inner = is_log ? normal->producer : produced_by(normal, "Softmax");
  if (inner == nullptr || inner->program || axis_of(*inner, -1) != normal->rank() - 1) return false;
  Node* flatten = inner->inputs[0]->producer;
  if (flatten == nullptr || (flatten->op != "Flatten" && flatten->op != "Reshape") || flatten->program) return false;
  Value* x = flatten->inputs[0];
  if (!same_dims(x, node->output()) || x->rank() < 1 || normal->rank() < 1) return false;
  if (!(x->dims->back() == normal->dims->back())) return false;
  Attributes attributes;
  attributes.set("axis", int64_t{-1});
  replace_node(graph, node, inner->op, {x}, attributes);
  return true;
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  return rewrite_each(graph, [&](Node* node) {
    if (node->op == "Reshape" && !node->program) return drop_flattening(graph, node);
    if (node->op != "Div") return false;
    auto found = match(graph, node->output(), softmax());
    if (!found) return false;
    Ints axes = *reduced_axes(*(*found)["total"]->producer);
    if (axes != *reduced_axes(*(*found)["largest"]->producer)) return false;
    Attributes attributes;
    attributes.set("axis", axes[0]);
    replace_node(graph, node, "Softmax", {(*found)["x"]}, attributes);
    return true;
  });
}

}  // namespace

extern const Pass recognise_softmax_pass = {
    .name = "recognise_softmax",
    .summary = "Exp(x - ReduceMax(x)) / ReduceSum(Exp(x - ReduceMax(x))) => Softmax(x)",
    .run = run};

}  // namespace hussar
