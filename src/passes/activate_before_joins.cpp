// An activation behind products that were joined or given other shapes moves in front of that, into their epilogues:
//   Sigmoid(Concat(Reshape(Conv a), Reshape(Conv b)))  =>  Concat(Reshape(Sigmoid(Conv a)), Reshape(Sigmoid(Conv b)))
// Not where anybody else reads what lies between.
#include <fmt/format.h>

#include <algorithm>

#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/program_builder.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

bool is_product(const Node& node) { return node.op == "Conv" || node.op == "ConvTranspose" || node.op == "MatMul"; }

// Input 0 is what moves, or all inputs are.
bool moves_elements(const Node& node) {
  return !node.program && node.outputs.size() == 1 &&
         (node.op == "Concat" || node.op == "Transpose" || has_trait(find_op(node.op), kView));
}

// A value between, and what the activation is to be applied to.
struct Moved {
  std::vector<Value*> between, products;
};

bool follow(const Graph& graph, Value* value, Moved& moved) {
  Node* producer = value == nullptr ? nullptr : value->producer;
  if (producer == nullptr || only_user(graph, value) == nullptr || graph.use_count(value) != 1) return false;
  if (value->dtype != DType::kFloat32) return false;
  if (is_product(*producer) && !producer->program) {
    moved.products.push_back(value);
    return value->dims.has_value();
  }
  if (!moves_elements(*producer)) return false;
  moved.between.push_back(value);
  const size_t count = producer->op == "Concat" ? producer->inputs.size() : 1;
  for (size_t i = 0; i < count; ++i) {
    if (!follow(graph, producer->inputs[i], moved)) return false;
  }
  return true;
}

bool is_activation(const Node& node) {
  return !node.program && node.inputs.size() == 1 && node.inputs[0] != nullptr && is_programmable(node);
}

// Whether a product may read the value, moved or changed element by element: then as bytes, whose range is known under
// the name of what lies between.
bool reaches_product(const Value& value) {
  return std::any_of(value.users.begin(), value.users.end(), [](const Node* user) {
    if (!moves_elements(*user) && !has_trait(find_op(user->op), kElementwise)) return true;
    return std::any_of(user->outputs.begin(), user->outputs.end(),
                       [](const Value* output) { return output != nullptr && reaches_product(*output); });
  });
}

bool rewrite(const PassContext& context, Node* node) {
  Graph& graph = context.graph;
  Moved moved;
  if (!is_activation(*node) || !follow(graph, node->inputs[0], moved) || moved.between.empty()) return false;
  if (context.quantization != nullptr && reaches_product(*node->outputs[0])) return false;
  for (size_t i = 0; i < moved.products.size(); ++i) {
    Value* product = moved.products[i];
    Node* user = only_user(graph, product);
    // Names tell which steps do the same work: each product keeps to itself.
    const std::string name = i == 0 ? node->name : fmt::format("{}~{}", node->name, i);
    Value* activated = add_operation(graph, name, node->op, {product}, node->attributes, product->dtype, product->dims);
    for (size_t at = 0; at < user->inputs.size(); ++at) {
      if (user->inputs[at] == product) graph.set_input(user, at, activated);
    }
  }
  // What lies between is no longer what it was called: ranges are known by names.
  for (Value* value : moved.between) value->name = graph.unique_name(value->name + "_activated");
  Value* last = node->inputs[0];
  Value* output = node->outputs[0];
  const std::string name = output->name;
  if (!bypass(graph, node, last)) return true;
  output->name = graph.unique_name(name);
  last->name = name;
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return rewrite(context, node); });
}

}  // namespace

extern const Pass activate_before_joins_pass = {
    .name = "activate_before_joins",
    .summary = "Sigmoid(Concat(Conv a, Conv b)) => Concat(Sigmoid(Conv a), Sigmoid(Conv b))",
    .run = run,
    .after = "lower_gemm"};

}  // namespace hussar
