// Computes now what does not depend on the inputs: nodes whose inputs are all constant, and small integer values that
// shape inference knows (Shape(x) of a fixed x, and what is computed from it).
#include "ops/evaluate.h"
#include "ops/op_def.h"
#include "passes/pass.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

// A folded result may not be much larger than what it is made of: ConstantOfShape of a huge shape stays a node.
constexpr size_t kMaxGrowth = 1 << 20;

bool is_foldable(const Node& node) {
  const OpDef* op = find_op(node.op);
  if (op == nullptr || has_trait(op, kImpure) || !node.bodies.empty() || node.inputs.empty()) return false;
  for (const Value* input : node.inputs) {
    if (input != nullptr && !input->is_constant()) return false;
  }
  return true;
}

size_t bytes_of(const std::vector<Value*>& values) {
  size_t total = 0;
  for (const Value* value : values) total += value != nullptr && value->is_constant() ? value->constant->bytes() : 0;
  return total;
}

void make_constant(Graph& graph, Value* value, Tensor tensor) {
  value->dtype = tensor.dtype();
  Value* constant = graph.add_constant(graph.unique_name(value->name), std::move(tensor));
  graph.replace_uses(value, constant);
}

Result<int> fold_node(Graph& graph, Node* node) {
  std::vector<Tensor> inputs;
  for (const Value* input : node->inputs) inputs.push_back(input == nullptr ? Tensor() : *input->constant);
  // Quantized weights become four times as large, and are needed.
  size_t limit = bytes_of(node->inputs) * (node->op == "DequantizeLinear" ? sizeof(float) : 1) + kMaxGrowth;
  for (const Value* output : node->outputs) {
    auto shape = output == nullptr ? std::nullopt : output->static_shape();
    if (shape && static_cast<size_t>(shape->elements()) * dtype_size(output->dtype) > limit) return 0;
  }
  auto results = evaluate_node(*node, inputs);
  if (!results) return tl::unexpected(results.error());
  for (size_t i = 0; i < node->outputs.size(); ++i) {
    if (node->outputs[i] == nullptr) continue;
    if (i >= results->size() || !(*results)[i].valid()) return 0;
  }
  for (size_t i = 0; i < node->outputs.size(); ++i) {
    if (node->outputs[i] != nullptr) make_constant(graph, node->outputs[i], (*results)[i]);
  }
  graph.remove(node);
  return 1;
}

// Replaces values whose elements are known integers by constants.
int fold_facts(Graph& graph, const ElementFacts& facts) {
  int rewrites = 0;
  std::vector<std::pair<Value*, Tensor>> known;
  for (const auto& value : graph.values()) {
    auto it = facts.find(value.get());
    auto shape = value->static_shape();
    if (it == facts.end() || !shape || value->is_constant() || value->producer == nullptr) continue;
    if (!value->producer->bodies.empty() || graph.use_count(value.get()) == 0) continue;
    if (dtype_size(value->dtype) == 0 || shape->elements() != static_cast<int64_t>(it->second.size())) continue;
    Ints numbers;
    for (const Dim& dim : it->second) {
      if (dim.is_constant()) numbers.push_back(dim.value());
    }
    if (numbers.size() != it->second.size()) continue;
    Tensor tensor(value->dtype, *shape);
    store_elements<int64_t>(tensor, 0, tensor.elements(), numbers.data());
    known.emplace_back(value.get(), std::move(tensor));
  }
  for (auto& [value, tensor] : known) {
    make_constant(graph, value, std::move(tensor));
    ++rewrites;
  }
  return rewrites;
}

Result<int> fold(Graph& graph, const ElementFacts& facts) {
  int rewrites = fold_facts(graph, facts);
  for (Node* node : graph.snapshot()) {
    for (const Body& body : node->bodies) rewrites += HUSSAR_TRY(fold(*body.graph, facts));
    if (is_foldable(*node)) rewrites += HUSSAR_TRY(fold_node(graph, node));
  }
  graph.sweep();
  return rewrites;
}

Result<int> run(PassContext& context) { return fold(context.graph, context.facts); }

}  // namespace

extern const Pass fold_constants_pass = {
    .name = "fold_constants", .summary = "Transpose(weight) => constant; Shape(x[2x3]) => [2, 3]", .run = run};

}  // namespace hussar
