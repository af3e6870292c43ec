#include "passes/support/fake_quantize.h"

#include <algorithm>
#include <cmath>

#include "passes/support/rewrite.h"
#include "tensor/fake_quantize.h"

namespace hussar {

static std::optional<QuantParams> params_of(const Node& node, bool fp8) {
  const bool to_bytes = node.op == "QuantizeLinear";
  if (!to_bytes && node.op != "DequantizeLinear") return std::nullopt;
  const Value* bytes = to_bytes ? node.output() : node.input(0);
  const Value* real = to_bytes ? node.input(0) : node.output();
  const Value* scale = node.input(1);
  const Value* zero_point = node.input(2);
  const bool is_signed = bytes->dtype == DType::kInt8, is_fp8 = fp8 && bytes->dtype == kFp8;
  if ((!is_signed && !is_fp8 && bytes->dtype != DType::kUInt8) || real->dtype != DType::kFloat32) return std::nullopt;
  const auto number = number_of(scale);
  if (!number || scale->dtype != DType::kFloat32 || scale->rank() > 1 || !(*number > 0) || !std::isfinite(*number))
    return std::nullopt;
  if (node.attributes.get_int("precision", 0) > 1) return std::nullopt;
  const auto offset = zero_point == nullptr ? std::optional(0.0) : number_of(zero_point);
  if (!offset) return std::nullopt;
  QuantParams params;
  params.scale = static_cast<float>(*number);
  params.zero_point = static_cast<int32_t>(*offset) + (is_signed ? 128 : 0);
  params.dtype = is_fp8 ? kFp8 : DType::kUInt8;
  if (is_fp8 && (*offset != 0 || node.attributes.get_int("saturate", 1) == 0)) return std::nullopt;
  return params;
}

std::optional<QuantParams> byte_params(const Node& node) { return params_of(node, false); }
std::optional<QuantParams> quantized_params(const Node& node, bool fp8) { return params_of(node, fp8); }

std::optional<QuantParams> fake_quantize_params(const Node& node) {
  QuantParams params;
  if (node.op == "hussar.FakeQuantize") {
    params.scale = node.attributes.get_float("scale", 1);
    params.zero_point = static_cast<int32_t>(node.attributes.get_int("zero_point", 0));
    return params;
  }
  const bool may_be = node.op == "hussar.Pointwise" && node.program && node.program->step_count == kFakeQuantizeSteps;
  return may_be ? fake_quantize_at(*node.program, 0) : std::nullopt;
}

bool same_params(const QuantParams& a, const QuantParams& b) {
  return a.scale == b.scale && a.zero_point == b.zero_point && a.dtype == b.dtype;
}

Value* add_fake_quantize(Graph& graph, const std::string& name, Value* x, const QuantParams& params) {
  Attributes attributes;
  attributes.set("scale", params.scale);
  attributes.set("zero_point", int64_t{params.zero_point});
  Value* y = add_operation(graph, name, "hussar.FakeQuantize", {x}, attributes, x->dtype, x->dims);
  y->layout = x->layout;
  return y;
}

bool only_moves(const Node& node) {
  static constexpr std::string_view kMoves[] = {"Reshape",  "Transpose",    "Squeeze",      "Unsqueeze",      "Flatten",
                                                "Slice",    "Gather",       "Expand",       "Tile",           "MaxPool",
                                                "Identity", "DepthToSpace", "SpaceToDepth", "hussar.Reformat"};
  return std::find(std::begin(kMoves), std::end(kMoves), node.op) != std::end(kMoves) && !node.program &&
         node.output(1) == nullptr && node.output() != nullptr;
}

bool is_multiplied(const Value* value) {
  return std::any_of(value->users.begin(), value->users.end(), [&](const Node* user) {
    if (user->input(0) != value || user->input(1) == nullptr || !user->input(1)->is_constant()) return false;
    return user->op == "Conv" || user->op == "MatMul" || user->op == "Gemm" || user->op == "com.microsoft.FusedMatMul";
  });
}

bool lower_fake_quantize(Graph& graph, Node* node) {
  if (!fake_quantize_params(*node) && node->op != "hussar.DynamicFakeQuantize") return false;
  Value* value = node->output();
  Node* last = nullptr;
  for (Node* next = only_user(graph, value); next != nullptr && only_moves(*next) && next->inputs[0] == value;
       next = only_user(graph, value)) {
    last = next;
    value = next->output();
  }
  if (last == nullptr || !is_multiplied(value)) return false;
  Value* x = node->inputs[0];
  Value* quantized = graph.add_value(graph.unique_name(node->output()->name), value->dtype, value->dims);
  quantized->layout = value->layout;
  graph.replace_uses(value, quantized);
  Node* lowered = graph.add_node(node->op, node->name, {value}, {quantized}, node->attributes);
  lowered->program = node->program;
  lowered->program_inputs = node->program_inputs;
  return bypass(graph, node, x);
}

}  // namespace hussar
