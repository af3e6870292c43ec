// Rounding inside an FP32 graph.
#include "compile/fake_quantize.h"

#include <map>

#include "base/error.h"

namespace hussar {
namespace {

// The weights that integers and scales stand for, in the shape of `original`. A product's integers are k x n; the
// original is n x k where it was transposed.
Tensor real_weights(const Node& product, const Tensor& original) {
  const Tensor& numbers = *product.inputs[1]->constant;
  const auto* q = numbers.data<int8_t>();
  const auto* scales = product.inputs[2]->constant->data<float>();
  Tensor weights(DType::kFloat32, original.shape());
  auto* w = weights.data<float>();
  if (product.op == "hussar.QuantizedConv") {
    const int64_t channels = numbers.shape()[0], elements = numbers.elements() / channels;
    for (int64_t i = 0; i < numbers.elements(); ++i) w[i] = static_cast<float>(q[i]) * scales[i / elements];
    return weights;
  }
  const int64_t depth = numbers.shape()[0], channels = numbers.shape()[1];
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t n = 0; n < channels; ++n) {
      w[k * channels + n] = static_cast<float>(q[k * channels + n]) * scales[n];
    }
  }
  return weights;
}

Tensor transposed(const Tensor& matrix, const Shape& shape) {
  Tensor result(DType::kFloat32, shape);
  const int64_t rows = shape[1], columns = shape[0];
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t k = 0; k < columns; ++k) {
      result.data<float>()[k * rows + i] = matrix.data<float>()[i * columns + k];
    }
  }
  return result;
}

// round(x / scale), bounded, times the scale.
Program rounding(const QuantParams& params) {
  Program program{};
  const auto zero = static_cast<float>(params.zero_point);
  auto add = [&](ProgramOp op, float p0, float p1) {
    ProgramStep& step = program.steps[program.step_count++];
    step.op = op;
    step.source = reads_b(op) ? ProgramSource::kConstant : ProgramSource::kRegister;
    step.p0 = p0;
    step.p1 = p1;
  };
  add(ProgramOp::kDiv, params.scale, 0);
  add(ProgramOp::kRound, 0, 0);
  add(ProgramOp::kClip, -zero, 255 - zero);
  add(ProgramOp::kMul, params.scale, 0);
  return program;
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
    const Value* weights = node->input(1);
    if (it == quantized.end() || weights == nullptr || !weights->is_constant()) continue;
    const Node& product = *it->second;
    QuantizedProduct entry{node->name, node->outputs[0]->name, {}, {}};
    entry.input.scale = product.attributes.get_float("x_scale", 1);
    entry.input.zero_point = static_cast<int32_t>(product.attributes.get_int("x_zero_point", 0));
    if (node->attributes.get_int("transB", 0) != 0) {
      Tensor straight(DType::kFloat32, product.inputs[1]->constant->shape());
      entry.weights = transposed(real_weights(product, straight), weights->constant->shape());
    } else {
      entry.weights = real_weights(product, *weights->constant);
    }
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
  Node* rounds = graph.add_node("hussar.Pointwise", "round " + x->name, {x}, {rounded});
  rounds->program = rounding(product.input);
  rounds->program_inputs = 1;
  graph.set_input(node, 0, rounded);
  return graph.sort();
}

}  // namespace hussar
