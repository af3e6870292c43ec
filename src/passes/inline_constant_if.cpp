// If with a constant condition: the taken branch becomes part of the outer graph.
#include "passes/pass.h"
#include "tensor/convert.h"

#include <unordered_map>

namespace hussar {
namespace {

bool inline_branch(Graph& graph, Node* node) {
  const Value* condition = node->input(0);
  if (condition == nullptr || !condition->is_constant() || condition->constant->elements() != 1) return false;
  int64_t taken = 0;
  load_elements<int64_t>(*condition->constant, 0, 1, &taken);
  Graph* body = node->body(taken != 0 ? "then_branch" : "else_branch");
  auto then_count = static_cast<size_t>(node->attributes.get_int("then_inputs", 0));
  size_t first = taken != 0 ? 1 : 1 + then_count;
  if (body == nullptr || first + body->inputs.size() > node->inputs.size()) return false;
  if (body->outputs.size() < node->outputs.size()) return false;
  std::unordered_map<const Value*, Value*> outer;
  for (size_t i = 0; i < body->inputs.size(); ++i) outer[body->inputs[i]] = node->inputs[first + i];
  auto translate = [&](Value* value) -> Value* {
    if (value == nullptr) return nullptr;
    auto [it, inserted] = outer.emplace(value, nullptr);
    if (inserted) {
      it->second = graph.add_value(graph.unique_name(value->name), value->dtype, value->dims);
      it->second->constant = value->constant;
    }
    return it->second;
  };
  for (const auto& inner : body->nodes()) {
    std::vector<Value*> inputs, outputs;
    for (Value* value : inner->inputs) inputs.push_back(translate(value));
    for (Value* value : inner->outputs) outputs.push_back(translate(value));
    Node* copy = graph.add_node(inner->op, inner->name, inputs, outputs, inner->attributes);
    copy->bodies = std::move(inner->bodies);
  }
  for (size_t i = 0; i < node->outputs.size(); ++i) {
    if (node->outputs[i] != nullptr) graph.replace_uses(node->outputs[i], translate(body->outputs[i]));
  }
  graph.remove(node);
  return true;
}

Result<int> run(PassContext& context) {
  int rewrites = 0;
  for (Node* node : context.graph.snapshot()) {
    if (node->op == "If" && inline_branch(context.graph, node)) ++rewrites;
  }
  return rewrites;
}

}  // namespace

extern const Pass inline_constant_if_pass = {
    .name = "inline_constant_if", .summary = "If(true) {a} else {b} => a", .run = run};

}  // namespace hussar
