// LeakyRelu from the formulas of exporters that lack it.
#include "passes/pass.h"
#include "passes/support/pattern.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// max(x, alpha * x), which is LeakyRelu for alpha <= 1.
const Pattern& maximum() {
  static const Pattern x = any("x");
  static const Pattern pattern = op("Max", {x, product({x, number("alpha")})});
  return pattern;
}

// relu(x) + slope * relu(-x), slope = -alpha.
const Pattern& two_sided() {
  static const Pattern x = any("x");
  static const Pattern flipped = either({op("Neg", {x}), product({x, -1.0})});
  static const Pattern right = product({op("Relu", {flipped}), number("slope")});
  static const Pattern pattern = either({sum({op("Relu", {x}), right}), op("Sub", {op("Relu", {x}), right})});
  return pattern;
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  return rewrite_each(graph, [&](Node* node) {
    double alpha = 0;
    std::optional<Match> found;
    if (node->op == "Max") {
      found = match(graph, node->output(), maximum());
      if (found) alpha = found->number("alpha");
      if (alpha > 1) return false;
    } else if (node->op == "Add" || node->op == "Sub") {
      found = match(graph, node->output(), two_sided());
      if (found) alpha = (node->op == "Sub" ? 1 : -1) * found->number("slope");
    }
    if (!found || !same_dims((*found)["x"], node->output()) || !is_floating(node->output()->dtype)) return false;
    Attributes attributes;
    attributes.set("alpha", static_cast<float>(alpha));
    replace_node(graph, node, "LeakyRelu", {(*found)["x"]}, attributes);
    return true;
  });
}

}  // namespace

extern const Pass recognise_leaky_relu_pass = {
    .name = "recognise_leaky_relu",
    .summary = "Max(x, 0.1 * x) => LeakyRelu<0.1>(x); Relu(x) - 0.1 * Relu(-x) => LeakyRelu<0.1>(x)",
    .run = run};

}  // namespace hussar
