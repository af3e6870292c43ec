// On a GPU normalizations and attention write the bytes that products read themselves:
//   LayerNormalization -> y -> QuantizeLinear  =>  hussar.NormToBytes -> bytes, y
//   hussar.Attention -> y -> QuantizeLinear    =>  hussar.Attention<y_scale> -> bytes, where nobody else reads y
#include <algorithm>

#include "passes/pass.h"
#include "passes/support/byte_operands.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

bool is_used(const Graph& graph, const Value* value) { return value != nullptr && graph.use_count(value) > 0; }

// The rounding of a QuantizeLinear, and what each element of the last axis is multiplied with before.
struct Rounding {
  QuantParams params;
  std::vector<float> factors;  // none: 1
};

bool is_last_axis(const Node& node, int64_t otherwise, int rank) {
  const int64_t axis = node.attributes.get_int("axis", otherwise);
  return axis == -1 || axis == rank - 1;
}

// Scales along the last axis, which is normalized, with one zero point for all.
std::optional<Rounding> rounding_of_channels(const Node& norm, const Node& quantize) {
  const Value *scales = quantize.input(1), *zero_points = quantize.input(2);
  const Value& bytes = *quantize.outputs[0];
  if (!is_quantized(bytes.dtype) || bytes.rank() < 1) return std::nullopt;
  if (!is_last_axis(quantize, 1, bytes.rank()) || !is_last_axis(norm, -1, bytes.rank())) return std::nullopt;
  if (!scales->is_constant() || scales->rank() != 1 || zero_points == nullptr || !zero_points->is_constant())
    return std::nullopt;
  const auto* points = zero_points->constant->data<uint8_t>();
  const int64_t count = zero_points->constant->elements();
  if (count < 1 || !std::all_of(points, points + count, [&](uint8_t point) { return point == points[0]; }))
    return std::nullopt;
  Rounding rounding{{1, points[0], bytes.dtype}, {}};
  for (int64_t i = 0; i < scales->constant->elements(); ++i)
    rounding.factors.push_back(1 / scales->constant->data<float>()[i]);
  return rounding;
}

bool round_norm(Graph& graph, Node* norm, Node* quantize, Rounding rounding) {
  if (is_used(graph, norm->output(1)) || is_used(graph, norm->output(2))) return false;
  Value* y = norm->outputs[0];
  Value* bytes = quantize->outputs[0];
  Attributes attributes = norm->attributes;
  attributes.set("center", int64_t{norm->op == "LayerNormalization"});
  std::vector<Value*> inputs = norm->inputs;
  if (!rounding.factors.empty()) {
    inputs.resize(4);
    Tensor factors(DType::kFloat32, {std::ssize(rounding.factors)});
    std::copy(rounding.factors.begin(), rounding.factors.end(), factors.data<float>());
    inputs[3] = graph.add_constant(graph.unique_name(y->name + "_factors"), std::move(factors));
  }
  const std::string name = norm->name;
  graph.remove(quantize);
  graph.remove(norm);
  const bool is_read = is_used(graph, y);
  Node* both =
      graph.add_node("hussar.NormToBytes", name, inputs, {bytes, is_read ? y : nullptr}, std::move(attributes));
  set_byte_output(both, rounding.params);
  return true;
}

bool round_attention(Graph& graph, Node* attention, Node* quantize, const QuantParams& params) {
  if (graph.use_count(attention->outputs[0]) > 1 || attention->attributes.has("y_scale")) return false;
  Value* bytes = quantize->outputs[0];
  graph.remove(quantize);
  attention->outputs[0]->producer = nullptr;
  attention->outputs[0] = bytes;
  bytes->producer = attention;
  set_byte_output(attention, params);
  return true;
}

Result<int> run(PassContext& context) {
  if (context.target.place == Place::kHost) return 0;
  const bool fp8 = context.quantization != nullptr && context.quantization->fp8;
  return rewrite_each(context.graph, [&](Node* node) {
    if (node->op != "QuantizeLinear") return false;
    Node* producer = node->inputs[0]->producer;
    if (producer == nullptr || producer->outputs[0] != node->inputs[0]) return false;
    const bool is_norm = producer->op == "LayerNormalization" || producer->op == "RMSNormalization";
    std::optional<Rounding> rounding;
    if (const auto params = quantized_params(*node, fp8)) {
      rounding = Rounding{*params, {}};
    } else if (is_norm) {
      rounding = rounding_of_channels(*producer, *node);
    }
    if (!rounding || rounding->params.dtype != node->outputs[0]->dtype || !can_divide_by(rounding->params))
      return false;
    if (!has_own_kernel(Problem{*producer, context.target})) return false;
    if (is_norm) return round_norm(context.graph, producer, node, std::move(*rounding));
    return producer->op == "hussar.Attention" && round_attention(context.graph, producer, node, rounding->params);
  });
}

}  // namespace

extern const Pass round_in_place_pass = {.name = "round_in_place",
                                         .summary = "LayerNormalization -> QuantizeLinear => hussar.NormToBytes",
                                         .run = run,
                                         .after = "store_bytes"};

}  // namespace hussar
