#include "passes/support/byte_operands.h"

#include <algorithm>

#include "ops/op_def.h"
#include "ops/pool.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

constexpr const char* kConvToBytes = "hussar.ConvToBytes";

// What becomes of an average that reads bytes; null: nothing.
const char* byte_average(const Node& node) {
  if (node.op == "GlobalAveragePool") return "hussar.GlobalAverageBytes";
  const bool is_pool = node.op == "AveragePool" && !node.program && fits_average_bytes(node.attributes);
  return is_pool ? "hussar.AverageBytes" : nullptr;
}

void set_scale(Node* node, std::string_view what, const QuantParams& params) {
  node->attributes.set(std::string(what) + "_scale", params.scale);
  node->attributes.set(std::string(what) + "_zero_point", int64_t{params.zero_point});
}

size_t place_of(const Node& node, const Value* value) {
  return static_cast<size_t>(std::find(node.inputs.begin(), node.inputs.end(), value) - node.inputs.begin());
}

}  // namespace

bool can_divide_by(const QuantParams& params) { return params.scale > 1e-24F && params.scale < 1e24F; }

bool is_int8_product(const Node& node) {
  return node.op == "hussar.QuantizedConv" || node.op == "hussar.QuantizedMatMul";
}

bool is_byte_average(const Node& node) {
  return node.op == "hussar.GlobalAverageBytes" || node.op == "hussar.AverageBytes";
}

bool can_write_bytes(const Node& node) {
  const bool can_round = is_int8_product(node) || is_byte_average(node) || node.op == kPointwise ||
                         node.op == "hussar.QuantizedAttention" || node.op == "hussar.IntegerMatMul";
  return can_round && !node.attributes.has("y_scale");
}

bool can_round(Node& node, const Target& target) {
  if (can_write_bytes(node)) return true;
  if (target.place != Place::kDevice || node.op != "Conv" || node.output() == nullptr) return false;
  Value& y = *node.output();
  const DType dtype = y.dtype;
  node.op = kConvToBytes;
  node.attributes.set("y_scale", 1.0F);
  y.dtype = DType::kUInt8;
  const bool has_kernel = has_own_kernel(Problem{node, target});
  node.op = "Conv";
  node.attributes.erase("y_scale");
  y.dtype = dtype;
  return has_kernel;
}

void set_byte_output(Node* node, const QuantParams& params) {
  if (node->op == "Conv") node->op = kConvToBytes;
  set_scale(node, "y", params);
  if (params.dtype == kFp8) node->attributes.set("y_type", static_cast<int64_t>(kFp8));
}

bool can_read_bytes(const Node& node, const Value* value, DType bytes) {
  if (std::count(node.inputs.begin(), node.inputs.end(), value) != 1) return false;
  const bool is_image = value->layout == Layout::kChannelsLast;
  if (byte_average(node) != nullptr)
    return bytes == DType::kUInt8 && is_image && node.outputs[0]->layout == Layout::kChannelsLast;
  const size_t index = place_of(node, value);
  if (!node.program) return false;
  const bool is_operand = index >= static_cast<size_t>(node.program_inputs);
  if (is_operand && node.attributes.has("operand_scale")) return false;
  if (node.op == kPointwise) return is_image && (is_operand || !node.attributes.has("x_scale"));
  return is_int8_product(node) && is_operand && node.outputs[0]->dims == value->dims &&
         node.outputs[0]->layout == value->layout;
}

void read_bytes(Graph& graph, Node* node, const Value* real, Value* bytes, const QuantParams& params) {
  const size_t place = place_of(*node, real);
  const char* const average = byte_average(*node);
  if (average != nullptr) node->op = average;
  const bool is_operand = average == nullptr && place >= static_cast<size_t>(node->program_inputs);
  set_scale(node, is_operand ? "operand" : "x", params);
  graph.set_input(node, place, bytes);
}

}  // namespace hussar
