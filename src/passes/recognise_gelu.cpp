// Gelu from its formula: exact, by erf, or its approximation by tanh.
#include <cmath>

#include "passes/pass.h"
#include "passes/support/pattern.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

const Pattern& exact() {
  static const Pattern x = any("x");
  static const Pattern pattern = product({x, 0.5, sum({1.0, op("Erf", {product({x, M_SQRT1_2})})})});
  return pattern;
}

const Pattern& by_tanh() {
  static const Pattern x = any("x");
  static const double scale = std::sqrt(2 / M_PI);
  static const Pattern cubic = sum({x, product({x, x, x, 0.044715})});
  static const Pattern factored = sum({1.0, product({x, x, 0.044715})});
  static const Pattern inner = either({product({cubic, scale}), product({x, factored, scale})});
  static const Pattern pattern = product({x, 0.5, sum({1.0, op("Tanh", {inner})})});
  return pattern;
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  return rewrite_each(graph, [&](Node* node) {
    if (node->op != "Mul" && node->op != "Div") return false;
    for (const char* approximate : {"none", "tanh"}) {
      auto found = match(graph, node->output(), *approximate == 'n' ? exact() : by_tanh());
      if (!found || !same_dims((*found)["x"], node->output())) continue;
      Attributes attributes;
      attributes.set("approximate", std::string(approximate));
      replace_node(graph, node, "Gelu", {(*found)["x"]}, attributes);
      return true;
    }
    return false;
  });
}

}  // namespace

extern const Pass recognise_gelu_pass = {
    .name = "recognise_gelu", .summary = "x * 0.5 * (1 + erf(x / sqrt 2)) => Gelu(x); the tanh form too", .run = run};

}  // namespace hussar
