// HardSigmoid and HardSwish from clips: clip(x + 3, 0, 6) / 6 and x times that.
#include "passes/pass.h"
#include "passes/support/pattern.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

constexpr double kSixth = 1.0 / 6.0;

bool is_hard_sigmoid(const Node& node) {
  return is_close(node.attributes.get_float("alpha", 0.2F), kSixth) && node.attributes.get_float("beta", 0.5F) == 0.5F;
}

const Pattern& clipped() {
  static const Pattern pattern =
      either({op("Clip", {sum({any("x"), 3.0}), 0.0, 6.0}), op("Min", {op("Relu", {sum({any("x"), 3.0})}), 6.0}),
              op("Clip", {op("Relu", {sum({any("x"), 3.0})}), any("lowest"), 6.0})});
  return pattern;
}

const Pattern& hard_sigmoid() {
  static const Pattern pattern = product({clipped(), kSixth});
  return pattern;
}

const Pattern& hard_swish() {
  static const Pattern x = any("x");
  static const Pattern pattern = either({product({x, clipped(), kSixth}), product({x, hard_sigmoid()}),
                                         product({x, op("HardSigmoid", {x}, is_hard_sigmoid)})});
  return pattern;
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  auto recognise = [&](Node* node, const Pattern& pattern, const char* op_name, Attributes attributes) {
    auto found = match(graph, node->output(), pattern);
    if (!found || !same_dims((*found)["x"], node->output())) return false;
    if (found->values.count("lowest") != 0) {
      // Relu has clipped at 0 already; a second bound above 0 would count.
      auto lowest = number_of((*found)["lowest"]);
      if (!lowest || *lowest > 0) return false;
    }
    replace_node(graph, node, op_name, {(*found)["x"]}, std::move(attributes));
    return true;
  };
  Attributes sigmoid;
  sigmoid.set("alpha", static_cast<float>(kSixth));
  sigmoid.set("beta", 0.5F);
  int rewrites = rewrite_each(graph, [&](Node* node) {
    return (node->op == "Mul" || node->op == "Div") && recognise(node, hard_swish(), "HardSwish", {});
  });
  return rewrites + rewrite_each(graph, [&](Node* node) {
           return (node->op == "Mul" || node->op == "Div") && recognise(node, hard_sigmoid(), "HardSigmoid", sigmoid);
         });
}

}  // namespace

extern const Pass recognise_hard_swish_pass = {
    .name = "recognise_hard_swish",
    .summary = "x * Clip(x + 3, 0, 6) / 6 => HardSwish(x); Clip(x + 3, 0, 6) / 6 => HardSigmoid(x)",
    .run = run};

}  // namespace hussar
