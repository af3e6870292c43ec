// Attention is one step in FP32, whose scores and probabilities are never stored. A model that quantizes them, or the
// operands of its products again after their scaling, has this left out, so that the step can be recognised:
//   Softmax(FakeQuantize(MatMul(q, k^T)) * 0.125)   =>  Softmax(MatMul(q, k^T) * 0.125)
// What is left out only makes the result more exact. Queries, keys and values stay quantized where they are made.
#include <algorithm>

#include "passes/pass.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

constexpr int kMostSteps = 32;

bool multiplies_activations(const Node* node) {
  return node != nullptr && node->op == "MatMul" && !node->program && !node->inputs[0]->is_constant() &&
         !node->inputs[1]->is_constant();
}

// The operand that a multiplication with a scalar changes; null for other nodes.
Value* scaled(const Node* node) {
  if (node->op != "Mul" && node->op != "Div") return nullptr;
  if (scalar_beside(node->input(1), node->input(0))) return node->inputs[0];
  return node->op == "Mul" && scalar_beside(node->input(0), node->input(1)) ? node->inputs[1] : nullptr;
}

// The product behind scores, and what is quantized between; null when there is none.
Node* product_behind(const Graph& graph, Value* value, int steps, std::vector<Node*>& inner) {
  Node* node = steps > 0 && only_user(graph, value) != nullptr ? value->producer : nullptr;
  if (node == nullptr || node->program) return nullptr;
  if (multiplies_activations(node)) return node;
  auto behind = [&](Value* next) { return product_behind(graph, next, steps - 1, inner); };
  if (fake_quantize_params(*node)) {
    inner.push_back(node);
    return behind(node->inputs[0]);
  }
  if (Value* next = scaled(node)) return behind(next);
  if (node->op == "Reshape") return behind(node->inputs[0]);
  if (node->op != "Add" && node->op != "Where") return nullptr;
  for (size_t i = node->op == "Where" ? 1 : 0; i < node->inputs.size(); ++i) {
    const size_t before = inner.size();
    if (node->inputs[i]->is_constant() || !same_dims(node->inputs[i], value)) continue;
    if (Node* product = behind(node->inputs[i])) return product;
    inner.resize(before);
  }
  return nullptr;
}

// The product that reads the probabilities.
Node* product_after(const Graph& graph, const Value* value, std::vector<Node*>& inner) {
  for (int step = 0; step < kMostSteps; ++step) {
    Node* node = only_user(graph, value);
    if (node == nullptr) return nullptr;
    if (multiplies_activations(node)) return node->inputs[0] == value ? node : nullptr;
    if (fake_quantize_params(*node))
      inner.push_back(node);
    else if (node->op != "Reshape")
      return nullptr;
    value = node->output();
  }
  return nullptr;
}

// Of what makes an operand: all that is quantized again, or after a scaling.
void collect_repeated(const Graph& graph, const Value* value, std::vector<Node*>& inner) {
  std::vector<Node*> waiting;
  for (int step = 0; step < kMostSteps && only_user(graph, value) != nullptr; ++step) {
    Node* node = value->producer;
    if (node == nullptr || node->program) return;
    const bool quantizes = fake_quantize_params(*node).has_value();
    Value* next = quantizes || only_moves(*node) ? node->inputs[0] : scaled(node);
    if (next == nullptr) return;
    if (quantizes || !only_moves(*node)) {
      inner.insert(inner.end(), waiting.begin(), waiting.end());
      waiting.clear();
    }
    if (quantizes) waiting.push_back(node);
    value = next;
  }
}

bool relax(Graph& graph, Node* softmax) {
  if (softmax->op != "Softmax" || softmax->program) return false;
  std::vector<Node*> inner;
  Node* scores = product_behind(graph, softmax->inputs[0], kMostSteps, inner);
  Node* result = scores == nullptr ? nullptr : product_after(graph, softmax->output(), inner);
  if (result == nullptr) return false;
  for (const Value* operand : {scores->inputs[0], scores->inputs[1], result->inputs[1]})
    collect_repeated(graph, operand, inner);
  bool changed = false;
  for (Node* node : inner) changed = bypass(graph, node, node->inputs[0]) || changed;
  // The transpose of the result is a part of the step.
  Node* behind = only_user(graph, result->output());
  return (behind != nullptr && lower_fake_quantize(graph, behind)) || changed;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return relax(context.graph, node); });
}

}  // namespace

extern const Pass relax_attention_pass = {
    .name = "relax_attention", .summary = "Softmax(FakeQuantize(MatMul(q, k))) => Softmax(MatMul(q, k))", .run = run};

}  // namespace hussar
