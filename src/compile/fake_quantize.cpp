// Rounding inside an FP32 graph.
#include "compile/fake_quantize.h"

#include <map>

#include "base/error.h"
#include "ops/product_weights.h"
#include "tensor/fake_quantize.h"

namespace hussar {
namespace {

// What passes/quantize_products.cpp divides the channels by that the product reads: their scales are so many times its
// own. Not valid: nothing.
Tensor divisors_of(const Node& product) {
  const Node* quantize = product.inputs[0]->producer;
  if (quantize == nullptr || quantize->op != "QuantizeLinear" || quantize->inputs[1]->rank() != 1) return {};
  Tensor divisors = quantize->inputs[1]->constant->clone();
  for (int64_t i = 0; i < divisors.elements(); ++i)
    divisors.data<float>()[i] /= product.attributes.get_float("x_scale", 1);
  return divisors;
}

// The weights that the integers and scales of an INT8 product stand for, in the shape and order of the original ones.
Tensor real_weights(const Node& product, const ProductWeights& original, const Shape& shape, const Tensor& divisors) {
  const Int8Weights quantized{*product.inputs[1]->constant, *product.inputs[2]->constant};
  const bool is_conv = product.op == "hussar.QuantizedConv";
  Tensor weights(DType::kFloat32, shape);
  for (int64_t channel = 0; channel < original.channels; ++channel) {
    for (int64_t i = 0; i < original.elements; ++i) {
      weights.data<float>()[channel * original.channel_stride + i * original.element_stride] =
          quantized.real(is_conv, channel, i) / (divisors.valid() ? divisors.data<float>()[i] : 1);
    }
  }
  return weights;
}

ProgramStep times_operand(uint8_t operand) {
  return {ProgramOp::kMul, 0, 0, ProgramSource::kOperand, operand, {}, 0, 0};
}

// With divisors operand 0 divides before, and operand 1 multiplies again.
Program rounding(const QuantParams& params, bool divides) {
  Program program{};
  if (divides) program.steps[program.step_count++] = times_operand(0);
  for (int step = 0; step < kFakeQuantizeSteps; ++step)
    program.steps[program.step_count++] = fake_quantize_step(params, step);
  if (divides) program.steps[program.step_count++] = times_operand(1);
  program.operand_count = divides ? 2 : 0;
  return program;
}

Tensor reciprocals(const Tensor& numbers) {
  Tensor result = numbers.clone();
  for (int64_t i = 0; i < result.elements(); ++i) result.data<float>()[i] = 1 / result.data<float>()[i];
  return result;
}

}  // namespace

std::vector<QuantizedProduct> quantized_products(const Graph& in_float, const Graph& in_int8) {
  std::map<std::string, const Node*> quantized;
  for (const auto& node : in_int8.nodes()) {
    if (node->op.starts_with("hussar.Quantized")) quantized[node->outputs[0]->name] = node.get();
  }
  std::vector<QuantizedProduct> products;
  for (const auto& node : in_float.nodes()) {
    if (node->outputs.empty() || node->outputs[0] == nullptr) continue;
    auto it = quantized.find(node->outputs[0]->name);
    const auto weights = product_weights(*node);
    // Products of a quantized model are INT8 in both; some find the scale of their input only when they run.
    if (it == quantized.end() || !weights || !it->second->attributes.has("x_scale")) continue;
    const Node& product = *it->second;
    QuantizedProduct entry{node->name, node->outputs[0]->name, {}, {}};
    entry.input.scale = product.attributes.get_float("x_scale", 1);
    entry.input.zero_point = static_cast<int32_t>(product.attributes.get_int("x_zero_point", 0));
    entry.divisors = divisors_of(product);
    entry.weights = real_weights(product, *weights, node->inputs[1]->constant->shape(), entry.divisors);
    products.push_back(std::move(entry));
  }
  return products;
}

Status fake_quantize(Graph& graph, const QuantizedProduct& product, QuantizedPart part) {
  Node* node = nullptr;
  for (const auto& candidate : graph.nodes()) {
    if (candidate->output() != nullptr && candidate->output()->name == product.output) node = candidate.get();
  }
  HUSSAR_CHECK(node != nullptr, ErrorCode::kRunFailed, "no node gives '{}'", product.output);
  if (part != QuantizedPart::kActivations) {
    graph.set_input(node, 1, graph.add_constant(graph.unique_name(node->inputs[1]->name), product.weights));
  }
  if (part == QuantizedPart::kWeights) return {};
  Value* x = node->inputs[0];
  Value* rounded = graph.add_value(graph.unique_name(x->name + "_rounded"), x->dtype, x->dims);
  rounded->layout = x->layout;
  std::vector<Value*> inputs = {x};
  if (product.divisors.valid()) {
    inputs.push_back(graph.add_constant(graph.unique_name(x->name + "_factors"), reciprocals(product.divisors)));
    inputs.push_back(graph.add_constant(graph.unique_name(x->name + "_divisors"), product.divisors));
  }
  Node* rounds = graph.add_node("hussar.Pointwise", "round " + x->name, inputs, {rounded});
  rounds->program = rounding(product.input, product.divisors.valid());
  rounds->program_inputs = 1;
  graph.set_input(node, 0, rounded);
  return graph.sort();
}

}  // namespace hussar
