// Softmax from its formula, with or without the subtraction of the maximum.
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

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  return rewrite_each(graph, [&](Node* node) {
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
