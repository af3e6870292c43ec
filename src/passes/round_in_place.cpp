// On a GPU normalizations and attention write the bytes that products read themselves:
//   LayerNormalization -> y -> QuantizeLinear  =>  hussar.NormToBytes -> bytes, y
//   LayerNormalization -> y -> QuantizeRows    =>  hussar.NormToRows -> bytes, scales, y
//   hussar.Attention -> y -> QuantizeLinear    =>  hussar.Attention<y_scale> -> bytes, where nobody else reads y
#include <algorithm>

#include "passes/pass.h"
#include "passes/support/byte_operands.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/rewrite.h"
#include "passes/support/smoothable.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

bool is_used(const Graph& graph, const Value* value) { return value != nullptr && graph.use_count(value) > 0; }

// The rounding of a QuantizeLinear, and what each element of the last axis is multiplied with before.
struct Rounding {
  QuantParams params;
  std::vector<float> factors;  // none: 1
};

// Scales along the last axis, which is normalized, with one zero point for all.
std::optional<Rounding> rounding_of_channels(const Node& norm, const Node& quantize) {
  const Value *scales = quantize.input(1), *zero_points = quantize.input(2);
  const Value& bytes = *quantize.outputs[0];
  const int last = bytes.rank() - 1;
  if (!is_quantized(bytes.dtype) || last < 0 || axis_of(quantize, 1) != last || axis_of(norm, -1) != last)
    return std::nullopt;
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

// Puts `op` in the place of both: its outputs are those of `quantize`, then the numbers, where they are read.
Node* join_norm(Graph& graph, Node* norm, Node* quantize, std::string op) {
  if (is_used(graph, norm->output(1)) || is_used(graph, norm->output(2))) return nullptr;
  Value* y = norm->outputs[0];
  std::vector<Value*> outputs = quantize->outputs;
  Attributes attributes = norm->attributes;
  attributes.set("center", int64_t{norm->op == "LayerNormalization"});
  const std::vector<Value*> inputs = norm->inputs;
  const std::string name = norm->name;
  graph.remove(quantize);
  graph.remove(norm);
  outputs.push_back(is_used(graph, y) ? y : nullptr);
  return graph.add_node(std::move(op), name, inputs, outputs, std::move(attributes));
}

bool round_norm(Graph& graph, Node* norm, Node* quantize, const Rounding& rounding) {
  Node* both = join_norm(graph, norm, quantize, "hussar.NormToBytes");
  if (both == nullptr) return false;
  set_byte_output(both, rounding.params);
  if (rounding.factors.empty()) return true;
  Tensor factors(DType::kFloat32, {std::ssize(rounding.factors)});
  std::copy(rounding.factors.begin(), rounding.factors.end(), factors.data<float>());
  while (both->inputs.size() < 3) both->inputs.push_back(nullptr);
  graph.append_input(both, graph.add_constant(graph.unique_name(both->name + "_factors"), std::move(factors)));
  return true;
}

// With a scale for each row, which is all that is normalized.
bool round_rows(Graph& graph, Node* quantize, const Target& target) {
  Node* norm = quantize->inputs[0]->producer;
  if (norm == nullptr || !is_normalization(*norm) || norm->outputs[0] != quantize->inputs[0]) return false;
  const auto axis = axis_of(*norm, -1);
  if (!axis || *axis != norm->inputs[0]->rank() - 1 || !has_own_kernel(Problem{*norm, target})) return false;
  return join_norm(graph, norm, quantize, "hussar.NormToRows") != nullptr;
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
    if (node->op == "hussar.QuantizeRows") return round_rows(context.graph, node, context.target);
    if (node->op != "QuantizeLinear") return false;
    Node* producer = node->inputs[0]->producer;
    if (producer == nullptr || producer->outputs[0] != node->inputs[0]) return false;
    std::optional<Rounding> rounding;
    if (const auto params = quantized_params(*node, fp8)) {
      rounding = Rounding{*params, {}};
    } else if (is_normalization(*producer)) {
      rounding = rounding_of_channels(*producer, *node);
    }
    if (!rounding || rounding->params.dtype != node->outputs[0]->dtype || !can_divide_by(rounding->params))
      return false;
    if (!has_own_kernel(Problem{*producer, context.target})) return false;
    if (is_normalization(*producer)) return round_norm(context.graph, producer, node, *rounding);
    return producer->op == "hussar.Attention" && round_attention(context.graph, producer, node, rounding->params);
  });
}

}  // namespace

extern const Pass round_in_place_pass = {.name = "round_in_place",
                                         .summary = "LayerNormalization -> QuantizeLinear => hussar.NormToBytes",
                                         .run = run,
                                         .after = "store_bytes"};

}  // namespace hussar
