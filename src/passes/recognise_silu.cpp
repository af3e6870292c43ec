// Swish from its formula. alpha = 1 is SiLU, alpha = 1.702 is the quick approximation of GELU.
#include "passes/pass.h"
#include "passes/support/pattern.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

const Pattern& swish() {
  static const Pattern x = any("x");
  static const Pattern pattern = product({x, op("Sigmoid", {product({x, number("alpha")})})});
  return pattern;
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  return rewrite_each(graph, [&](Node* node) {
    if (node->op != "Mul") return false;
    auto found = match(graph, node->output(), swish());
    if (!found || !same_dims((*found)["x"], node->output())) return false;
    Attributes attributes;
    attributes.set("alpha", static_cast<float>(found->number("alpha")));
    replace_node(graph, node, "Swish", {(*found)["x"]}, attributes);
    return true;
  });
}

}  // namespace

extern const Pass recognise_silu_pass = {
    .name = "recognise_silu", .summary = "x * Sigmoid(alpha * x) => Swish<alpha>(x)", .run = run};

}  // namespace hussar
