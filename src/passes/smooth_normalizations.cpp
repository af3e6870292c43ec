// Outlier channels of what a normalization gives move into the weights, where every INT8 channel has a scale of its
// own:
//   MatMul(LayerNormalization(x, scale, bias), w)  =>  MatMul(LayerNormalization(x, scale / d, bias / d), d * w)
// The divisors are PassContext::quantization's. Constants that others use stay as they are.
#include <algorithm>

#include "ops/product_weights.h"
#include "passes/pass.h"
#include "passes/support/smoothable.h"

namespace hussar {
namespace {

Value* divided(Graph& graph, const Value& vector, const std::vector<float>& divisors) {
  Tensor result = vector.constant->clone();
  for (size_t i = 0; i < divisors.size(); ++i) result.data<float>()[i] /= divisors[i];
  return graph.add_constant(graph.unique_name(vector.name), std::move(result));
}

void multiply_weights(Graph& graph, Node* product, const std::vector<float>& factors) {
  const ProductWeights weights = *product_weights(*product);
  Tensor result(DType::kFloat32, product->inputs[1]->constant->shape());
  scale_weights(weights, factors, result.data<float>());
  graph.set_input(product, 1, graph.add_constant(graph.unique_name(product->inputs[1]->name), std::move(result)));
}

Result<int> run(PassContext& context) {
  if (context.quantization == nullptr || context.quantization->divisors.empty()) return 0;
  Graph& graph = context.graph;
  int rewrites = 0;
  for (Node* norm : graph.snapshot()) {
    Value* value = norm->output();
    if (value == nullptr) continue;
    auto it = context.quantization->divisors.find(value->name);
    if (it == context.quantization->divisors.end() || !is_smoothable(graph, *value)) continue;
    const std::vector<float>& divisors = it->second;
    if (!value->dims->back().is(static_cast<int64_t>(divisors.size()))) continue;
    const std::string name = Quantization::smoothed_name(value->name);
    const bool is_taken = std::any_of(graph.values().begin(), graph.values().end(),
                                      [&](const auto& other) { return other->name == name; });
    if (is_taken) continue;
    for (size_t i = 1; i <= 2; ++i) {
      if (norm->input(i) != nullptr) graph.set_input(norm, i, divided(graph, *norm->inputs[i], divisors));
    }
    const std::vector<Node*> products = value->users;
    for (Node* product : products) multiply_weights(graph, product, divisors);
    // The calibration knows the range of the divided value by this name.
    value->name = name;
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
