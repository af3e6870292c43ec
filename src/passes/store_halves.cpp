// With --fp16 on a GPU: what kernels of the device compute lies in memory as FP16, with --bf16 as BF16. Their
// arithmetic stays FP32 or accumulates in FP32; inputs and outputs of the model keep their type. "Halves" are either.
//   x -> MatMul -> Gelu -> y   =>  x -> Cast(f16) -> MatMul@f16 -> Gelu@f16 -> Cast(f32) -> y
#include <algorithm>
#include <map>
#include <set>

#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/byte_operands.h"
#include "tactics/choose.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

constexpr std::string_view kGatherBytes = "hussar.GatherBytes", kByteAttention = "hussar.QuantizedAttention";
constexpr size_t kMaskOfBytes = 6;  // the scales before it stay exact

// Inputs that hold data; the others say how, and keep their type.
bool is_data(const Node& node, size_t index) {
  if (node.program && index >= static_cast<size_t>(node.program_inputs)) return true;
  if (is_int8_product(node) || node.op == kGatherBytes) return false;
  if (node.op == "QuantizeLinear") return index == 0;
  if (node.op == "hussar.NormToBytes") return index < 3;  // the factors of bytes
  if (node.op == "Resize") return index == 0;
  if (node.op == kByteAttention) return index >= kMaskOfBytes;
  return true;
}

// Outputs that hold data; others keep their type.
bool is_data_output(const Node& node, size_t index) {
  const bool has_scales = node.op == "hussar.QuantizeRows" || node.op == "hussar.NormToRows";
  return !has_scales || index != 1;
}

// What lies in memory stays as it is.
bool is_view(const Node& node) {
  return has_trait(find_op(node.op), kView) && node.outputs.size() == 1 && node.inputs[0] != nullptr &&
         node.inputs[0]->layout == node.outputs[0]->layout;
}

class Halves {
 public:
  explicit Halves(const PassContext& context)
      : context_(context), graph_(context.graph), half_(context.target.half()) {}

  Result<int> run() {
    for (Node* node : graph_.snapshot()) {
      if (takes_halves(*node)) chosen_.insert(node);
    }
    for (Node* node : graph_.snapshot()) {
      if (chosen_.count(node) != 0) lower(*node);
    }
    // Who reads halves that it does not take, and the model's outputs.
    for (Node* node : graph_.snapshot()) {
      for (size_t i = 0; i < node->inputs.size(); ++i) {
        Value* input = node->inputs[i];
        const bool takes = chosen_.count(node) != 0 && is_data(*node, i);
        if (input != nullptr && !takes && lowered_.count(input) != 0) graph_.set_input(node, i, widened(input));
      }
    }
    for (Value*& output : graph_.outputs) {
      if (lowered_.count(output) == 0) continue;
      Value* wide = widened(output);
      std::swap(wide->name, output->name);
      output = wide;
    }
    return static_cast<int>(chosen_.size());
  }

 private:
  // Whether a kernel of the device does the same work on halves.
  bool takes_halves(Node& node) const {
    std::vector<Value*> turned;
    std::set<const Value*> seen;
    auto turn = [&](Value* value) {
      if (value == nullptr || value->dtype != DType::kFloat32 || !seen.insert(value).second) return;
      value->dtype = half_;
      turned.push_back(value);
    };
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (is_data(node, i)) turn(node.inputs[i]);
    }
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (is_data_output(node, i)) turn(node.outputs[i]);
    }
    // The results of DequantizeLinear have the type of its scales.
    bool takes = !turned.empty() && node.op != "Cast" && node.op != "DequantizeLinear" && node.bodies.empty();
    if (takes) {
      const Problem allowed{node, context_.target};
      const Problem problem = context_.restrict ? context_.restrict(allowed) : allowed;
      takes = problem.target.half() == half_ && (has_own_kernel(problem) || is_view(node));
    }
    for (Value* value : turned) value->dtype = DType::kFloat32;
    return takes;
  }

  void lower(Node& node) {
    const bool writes_reals = node.outputs[0] != nullptr && node.outputs[0]->dtype == DType::kFloat32;
    const bool reads_bytes = std::any_of(node.inputs.begin(), node.inputs.end(), [](const Value* input) {
      return input != nullptr && is_quantized(input->dtype);
    });
    if (writes_reals && (is_int8_product(node) || node.op == "hussar.IntegerMatMul"))
      node.attributes.set("y_type", static_cast<int64_t>(half_));
    if (reads_bytes && writes_reals &&
        (is_byte_average(node) || node.op == kPointwise || node.op == kGatherBytes || node.op == kByteAttention))
      node.attributes.set("y_type", static_cast<int64_t>(half_));
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      Value* input = node.inputs[i];
      if (input == nullptr || input->dtype != DType::kFloat32 || !is_data(node, i)) continue;
      const bool becomes_half = input->producer != nullptr && chosen_.count(input->producer) != 0;
      if (!becomes_half) graph_.set_input(&node, i, narrowed(input));
    }
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      Value* output = node.outputs[i];
      if (output == nullptr || output->dtype != DType::kFloat32 || !is_data_output(node, i)) continue;
      output->dtype = half_;
      lowered_.insert(output);
    }
  }

  Value* copy_of(Value* value, DType dtype) {
    Value* copy = graph_.add_value(graph_.unique_name(value->name), dtype, value->dims);
    copy->layout = value->layout;
    Attributes attributes;
    attributes.set("to", static_cast<int64_t>(dtype));
    graph_.add_node("Cast", value->name, {value}, {copy}, std::move(attributes));
    return copy;
  }

  Value* narrowed(Value* value) {
    Value*& half = narrowed_[value];
    if (half != nullptr) return half;
    if (!value->is_constant()) return half = copy_of(value, half_);
    half = graph_.add_constant(graph_.unique_name(value->name), converted(*value->constant, half_));
    half->layout = value->layout;
    return half;
  }

  Value* widened(Value* value) {
    Value*& wide = widened_[value];
    if (wide == nullptr) wide = copy_of(value, DType::kFloat32);
    return wide;
  }

  const PassContext& context_;
  Graph& graph_;
  DType half_;
  std::set<const Node*> chosen_;
  std::set<const Value*> lowered_;
  std::map<Value*, Value*> narrowed_, widened_;
};

Result<int> run(PassContext& context) {
  if (context.target.place != Place::kDevice || context.target.half() == DType::kUndefined) return 0;
  return Halves(context).run();
}

}  // namespace

extern const Pass store_halves_pass = {.name = "store_halves",
                                       .summary = "x -> MatMul -> y => x -> Cast -> MatMul@f16 -> Cast -> y",
                                       .run = run,
                                       .after = "round_in_place"};

}  // namespace hussar
