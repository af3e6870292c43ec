// Mish from its formula.
#include "passes/pass.h"
#include "passes/support/pattern.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

const Pattern& mish() {
  static const Pattern x = any("x");
  static const Pattern softplus = either({op("Softplus", {x}), op("Log", {sum({op("Exp", {x}), 1.0})})});
  static const Pattern pattern = product({x, op("Tanh", {softplus})});
  return pattern;
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  return rewrite_each(graph, [&](Node* node) {
    if (node->op != "Mul") return false;
    auto found = match(graph, node->output(), mish());
    if (!found || !same_dims((*found)["x"], node->output())) return false;
    replace_node(graph, node, "Mish", {(*found)["x"]});
    return true;
  });
}

}  // namespace

extern const Pass recognise_mish_pass = {
    .name = "recognise_mish", .summary = "x * Tanh(Softplus(x)) => Mish(x)", .run = run};

}  // namespace hussar
