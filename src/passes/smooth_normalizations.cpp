// Outlier channels of what a normalization gives move into the weights, where every INT8 channel has a scale of its
// own:
//   MatMul(LayerNormalization(x, scale, bias), w)  =>  MatMul(LayerNormalization(x, scale / d, bias / d), d * w)
// The divisors are PassContext::quantization's. Constants that others use stay as they are.
#include "passes/pass.h"
#include "passes/support/smoothable.h"

namespace hussar {
namespace {

Value* divided(Graph& graph, const Value& vector, const std::vector<float>& divisors) {
  Tensor result = vector.constant->clone();
  for (size_t i = 0; i < divisors.size(); ++i) result.data<float>()[i] /= divisors[i];
  return graph.add_constant(graph.unique_name(vector.name), std::move(result));
}

Result<int> run(PassContext& context) {
  if (context.quantization == nullptr || context.quantization->divisors.empty()) return 0;
  Graph& graph = context.graph;
  int rewrites = 0;
  for (Node* norm : graph.snapshot()) {
    Value* value = norm->output();
    if (value == nullptr) continue;
    auto it = context.quantization->divisors.find(value->name);
    if (it == context.quantization->divisors.end() || !is_normalization(*norm)) continue;
    const std::vector<float>& divisors = it->second;
    if (smoothable_channels(graph, *value) != std::ssize(divisors) || !multiply_products(graph, value, divisors))
      continue;
    for (size_t i = 1; i <= 2; ++i) {
      if (norm->input(i) != nullptr) graph.set_input(norm, i, divided(graph, *norm->inputs[i], divisors));
    }
    ++rewrites;
  }
  return rewrites;
}

}  // namespace

extern const Pass smooth_normalizations_pass = {
    .name = "smooth_normalizations",
    .summary = "MatMul(LayerNormalization(x, s, b), w) => MatMul(LayerNormalization(x, s / d, b / d), d * w)",
    .run = run,
    .after = "choose_layouts"};

}  // namespace hussar
