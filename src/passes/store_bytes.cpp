// What only INT8 products read is written as bytes:
//   QuantizedConv -> y -> QuantizeLinear -> QuantizedConv   =>  QuantizedConv<y_scale> -> bytes -> QuantizedConv
// Residuals that products add may be bytes too.
#include <algorithm>

#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

bool is_product(const Node& node) { return node.op == "hussar.QuantizedConv" || node.op == "hussar.QuantizedMatMul"; }

// Whether the node adds the value to its sum and applies nothing but bounds afterwards.
bool adds_residual(const Node& node, const Value* value) {
  if (!is_product(node) || !node.program || node.attributes.has("operand_scale")) return false;
  if (std::count(node.inputs.begin(), node.inputs.end(), value) != 1) return false;
  if (node.outputs[0]->dims != value->dims || node.outputs[0]->layout != value->layout) return false;
  const auto operand = std::find(node.inputs.begin() + node.program_inputs, node.inputs.end(), value);
  return operand != node.inputs.end() &&
         adds_and_bounds(*node.program, static_cast<int>(operand - node.inputs.begin()) - node.program_inputs);
}

bool store(Graph& graph, Node* quantize) {
  if (quantize->op != "QuantizeLinear" || quantize->outputs[0] == nullptr) return false;
  Value* real = quantize->inputs[0];
  Value* bytes = quantize->outputs[0];
  Node* producer = real == nullptr ? nullptr : real->producer;
  auto scale = number_of(quantize->input(1));
  if (producer == nullptr || !is_product(*producer) || producer->attributes.has("y_scale") || !scale) return false;
  if (graph.is_output(real) || real->slice_of != nullptr || bytes->dtype != DType::kUInt8) return false;
  for (const Node* user : real->users) {
    if (user != quantize && !adds_residual(*user, real)) return false;
  }
  const int64_t zero_point = static_cast<int64_t>(number_of(quantize->input(2)).value_or(0));
  const std::vector<Node*> users = real->users;
  for (Node* user : users) {
    if (user == quantize) continue;
    const auto at =
        static_cast<size_t>(std::find(user->inputs.begin(), user->inputs.end(), real) - user->inputs.begin());
    user->attributes.set("operand_scale", static_cast<float>(*scale));
    user->attributes.set("operand_zero_point", zero_point);
    graph.set_input(user, at, bytes);
  }
  producer->attributes.set("y_scale", static_cast<float>(*scale));
  producer->attributes.set("y_zero_point", zero_point);
  graph.remove(quantize);
  producer->outputs[0] = bytes;
  bytes->producer = producer;
  real->producer = nullptr;
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return store(context.graph, node); });
}

}  // namespace

extern const Pass store_bytes_pass = {
    .name = "store_bytes",
    .summary = "QuantizedConv -> QuantizeLinear -> QuantizedConv => QuantizedConv<y_scale> -> QuantizedConv",
    .run = run};

}  // namespace hussar
