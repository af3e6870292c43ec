// What only INT8 products read is written as bytes:
//   QuantizedConv -> y -> QuantizeLinear -> QuantizedConv   =>  QuantizedConv<y_scale> -> bytes -> QuantizedConv
// On a GPU a convolution of floats rounds what QuantizeLinear would:
//   Conv -> y -> QuantizeLinear  =>  hussar.ConvToBytes -> bytes
// What products add, and what elementwise work and averages of images read, may be bytes too: what is quantized for
// products, what its producer fake-quantizes, and what has a range that calibration knows.
#include <algorithm>

#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/byte_operands.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/rewrite.h"
#include "tensor/fake_quantize.h"

namespace hussar {
namespace {

// Takes the fake-quantization at the end of the product's program out, when it is that of its bytes.
void drop_last_fake_quantize(Node* node, const QuantParams& params) {
  if (!node->program) return;
  Program& program = *node->program;
  const int last = program.step_count - kFakeQuantizeSteps;
  const auto own = fake_quantize_at(program, last);
  if (!own || !same_params(*own, params)) return;
  // Elementwise work without a program is nothing.
  if (last == 0 && !is_int8_product(*node)) return;
  erase_fake_quantize(program, last);
  if (program.step_count > 0) return;
  node->program.reset();
  node->program_inputs = 0;
}

// Who reads and writes bytes, and which.
struct Rules {
  Target target;
  bool fp8;
};
Rules rules_of(const PassContext& context) {
  return {context.target, context.quantization != nullptr && context.quantization->fp8};
}

bool store(Graph& graph, Node* quantize, const Rules& rules) {
  if (quantize->op != "QuantizeLinear" || quantize->outputs[0] == nullptr) return false;
  Value* real = quantize->inputs[0];
  Value* bytes = quantize->outputs[0];
  Node* producer = real == nullptr ? nullptr : real->producer;
  const auto params = quantized_params(*quantize, rules.fp8);
  if (producer == nullptr || !params || !can_divide_by(*params) || !can_round(*producer, rules.target)) return false;
  if (graph.is_output(real) || real->slice_of != nullptr || bytes->dtype != params->dtype) return false;
  for (const Node* user : real->users) {
    if (user != quantize && !can_read_bytes(*user, real, params->dtype)) return false;
  }
  const std::vector<Node*> users = real->users;
  for (Node* user : users) {
    if (user != quantize) read_bytes(graph, user, real, bytes, *params);
  }
  set_byte_output(producer, *params);
  drop_last_fake_quantize(producer, *params);
  graph.remove(quantize);
  producer->outputs[0] = bytes;
  bytes->producer = producer;
  real->producer = nullptr;
  return true;
}

// QuantizedConv{program, add DequantizeLinear(bytes)} => QuantizedConv{program, add bytes}
bool take_bytes(Graph& graph, Node* node, const Rules& rules) {
  for (Value* input : node->inputs) {
    Node* dequantize = input == nullptr ? nullptr : produced_by(input, "DequantizeLinear");
    const auto params = dequantize == nullptr ? std::nullopt : quantized_params(*dequantize, rules.fp8);
    if (!params || dequantize->inputs[0]->dtype != params->dtype || !can_read_bytes(*node, input, params->dtype))
      continue;
    read_bytes(graph, node, input, dequantize->inputs[0], *params);
    unlink_unused(graph, dequantize);
    return true;
  }
  return false;
}

// QuantizedConv whose result no product multiplies, but others read as bytes, writes them when it is fake-quantized or
// an image of a known range.
bool store_for_others(Graph& graph, Node* node, const Quantization* quantization) {
  if (!can_write_bytes(*node)) return false;
  Value* real = node->output();
  std::optional<QuantParams> params;
  if (node->program) params = fake_quantize_at(*node->program, node->program->step_count - kFakeQuantizeSteps);
  const bool is_image = real->layout == Layout::kChannelsLast;
  const QuantParams* known = quantization == nullptr || !is_image ? nullptr : quantization->find(real->name);
  if (!params && known != nullptr) params = *known;
  if (!params || !can_divide_by(*params) || graph.is_output(real) || real->slice_of != nullptr || real->users.empty())
    return false;
  for (const Node* user : real->users) {
    if (!can_read_bytes(*user, real, params->dtype)) return false;
  }
  real->dtype = params->dtype;
  const std::vector<Node*> users = real->users;
  for (Node* user : users) read_bytes(graph, user, real, real, *params);
  set_byte_output(node, *params);
  drop_last_fake_quantize(node, *params);
  return true;
}

Result<int> run(PassContext& context) {
  const Rules rules = rules_of(context);
  return rewrite_each(context.graph, [&](Node* node) {
    return store(context.graph, node, rules) || take_bytes(context.graph, node, rules) ||
           store_for_others(context.graph, node, context.quantization);
  });
}

}  // namespace

extern const Pass store_bytes_pass = {
    .name = "store_bytes",
    .summary = "QuantizedConv -> QuantizeLinear -> QuantizedConv => QuantizedConv<y_scale> -> QuantizedConv",
    .run = run};

}  // namespace hussar
