// What only INT8 products read is written as bytes:
//   QuantizedConv -> y -> QuantizeLinear -> QuantizedConv   =>  QuantizedConv<y_scale> -> bytes -> QuantizedConv
// Residuals that products add may be bytes too: those that are quantized for other products, and those whose producer
// fake-quantizes them.
#include <algorithm>

#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/rewrite.h"
#include "tensor/fake_quantize.h"

namespace hussar {
namespace {

// Kernels divide by the scale of their output with its reciprocal, which must leave room in the exponents.
bool can_divide_by(const QuantParams& params) { return params.scale > 1e-24F && params.scale < 1e24F; }

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

// The node adds `bytes` instead of `real`.
void set_operand(Graph& graph, Node* node, const Value* real, Value* bytes, const QuantParams& params) {
  const auto at = static_cast<size_t>(std::find(node->inputs.begin(), node->inputs.end(), real) - node->inputs.begin());
  node->attributes.set("operand_scale", params.scale);
  node->attributes.set("operand_zero_point", int64_t{params.zero_point});
  graph.set_input(node, at, bytes);
}

bool store(Graph& graph, Node* quantize) {
  if (quantize->op != "QuantizeLinear" || quantize->outputs[0] == nullptr) return false;
  Value* real = quantize->inputs[0];
  Value* bytes = quantize->outputs[0];
  Node* producer = real == nullptr ? nullptr : real->producer;
  const auto params = byte_params(*quantize);
  if (producer == nullptr || !is_product(*producer) || producer->attributes.has("y_scale") || !params ||
      !can_divide_by(*params))
    return false;
  if (graph.is_output(real) || real->slice_of != nullptr || bytes->dtype != DType::kUInt8) return false;
  for (const Node* user : real->users) {
    if (user != quantize && !adds_residual(*user, real)) return false;
  }
  const std::vector<Node*> users = real->users;
  for (Node* user : users) {
    if (user != quantize) set_operand(graph, user, real, bytes, *params);
  }
  producer->attributes.set("y_scale", params->scale);
  producer->attributes.set("y_zero_point", int64_t{params->zero_point});
  graph.remove(quantize);
  producer->outputs[0] = bytes;
  bytes->producer = producer;
  real->producer = nullptr;
  return true;
}

// QuantizedConv{program, add DequantizeLinear(bytes)} => QuantizedConv{program, add bytes}
bool take_bytes(Graph& graph, Node* node) {
  if (!is_product(*node) || !node->program) return false;
  for (size_t i = static_cast<size_t>(node->program_inputs); i < node->inputs.size(); ++i) {
    Node* dequantize = produced_by(node->inputs[i], "DequantizeLinear");
    const auto params = dequantize == nullptr ? std::nullopt : byte_params(*dequantize);
    if (!params || dequantize->inputs[0]->dtype != DType::kUInt8 || !adds_residual(*node, node->inputs[i])) continue;
    set_operand(graph, node, node->inputs[i], dequantize->inputs[0], *params);
    unlink_unused(graph, dequantize);
    return true;
  }
  return false;
}

// QuantizedConv{..., fake_quantize} whose result is only added by products writes bytes.
bool store_residual(Graph& graph, Node* node) {
  if (!is_product(*node) || !node->program || node->attributes.has("y_scale")) return false;
  Value* real = node->output();
  Program& program = *node->program;
  const int last = program.step_count - kFakeQuantizeSteps;
  const auto params = fake_quantize_at(program, last);
  if (!params || !can_divide_by(*params) || graph.is_output(real)) return false;
  for (const Node* user : real->users) {
    if (real->slice_of != nullptr || !adds_residual(*user, real)) return false;
  }
  real->dtype = DType::kUInt8;
  const std::vector<Node*> users = real->users;
  for (Node* user : users) set_operand(graph, user, real, real, *params);
  node->attributes.set("y_scale", params->scale);
  node->attributes.set("y_zero_point", int64_t{params->zero_point});
  erase_fake_quantize(program, last);
  if (program.step_count == 0) {
    node->program.reset();
    node->program_inputs = 0;
  }
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) {
    return store(context.graph, node) || take_bytes(context.graph, node) || store_residual(context.graph, node);
  });
}

}  // namespace

extern const Pass store_bytes_pass = {
    .name = "store_bytes",
    .summary = "QuantizedConv -> QuantizeLinear -> QuantizedConv => QuantizedConv<y_scale> -> QuantizedConv",
    .run = run};

}  // namespace hussar
