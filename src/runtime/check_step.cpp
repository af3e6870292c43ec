// Asking the tactics about the steps of a plan, as the compiler asked them about its nodes.
#include "runtime/check_step.h"

#include <deque>

#include "base/error.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "tactics/tactic.h"
#include "tensor/quant_params.h"

namespace hussar {
namespace {

const Tactic* find_tactic(std::string_view kernel) {
  for (const Tactic* tactic : all_tactics()) {
    if (tactic->kernel == kernel) return tactic;
  }
  return nullptr;
}

// The operands of the operator itself; those of a fused program come after.
size_t own_inputs(const PlanStep& step) {
  return step.program && step.op != kPointwise ? static_cast<size_t>(step.program_inputs) : step.inputs.size();
}

Status check_counts(const PlanStep& step, const OpDef& op, bool has_kernel) {
  auto inputs = static_cast<int>(own_inputs(step)), outputs = static_cast<int>(step.outputs.size());
  bool ok = inputs >= op.min_inputs && (op.max_inputs < 0 || inputs <= op.max_inputs) && outputs >= op.min_outputs &&
            (op.max_outputs < 0 || outputs <= op.max_outputs);
  for (int i = 0; ok && i < op.min_inputs; ++i) ok = step.inputs[static_cast<size_t>(i)] >= 0;
  for (int i = 0; ok && has_kernel && i < op.min_outputs; ++i) ok = step.outputs[static_cast<size_t>(i)] >= 0;
  HUSSAR_CHECK(ok, ErrorCode::kPlanIncompatible,
               "step '{}' ({}) has the wrong number of operands; build the plan again", step.name, step.op);
  return {};
}

// Whether inference accepts the step as far as shapes are known. Tactics rely on what it checks: ranks, axes in range,
// numbers of strides.
bool makes_sense(const Node& node, const PlanStep& step, const Kernel& kernel) {
  std::vector<ValueInfo> infos(node.inputs.size());
  for (size_t i = 0; i < infos.size(); ++i) {
    const Value* value = node.inputs[i];
    if (value == nullptr) continue;
    infos[i].dtype = value->dtype;
    infos[i].dims = value->dims;
    const Ints* unpacked =
        kernel.checks_shapes ? step.attributes.find<Ints>("hussar_packed_" + std::to_string(i)) : nullptr;
    if (unpacked != nullptr) {
      infos[i].dtype = unpacked_dtype(kernel, infos[i].dtype, infos[0].dtype);
      infos[i].dims = Dims(unpacked->begin(), unpacked->end());
    } else if (value->is_constant() && value->layout == Layout::kPlain) {
      infos[i].constant = &*value->constant;
    }
  }
  int64_t next = 0;
  auto fresh = [&next] { return Dim::symbol("unknown" + std::to_string(next++)); };
  return infer_node(node, std::move(infos), fresh, nullptr).has_value();
}

}  // namespace

DType unpacked_dtype(const Kernel& kernel, DType packed, DType data) {
  const bool stays = kernel.place == Place::kDevice || packed == DType::kInt8 || data == DType::kUInt8 || data == kFp8;
  return stays ? packed : data;
}

Result<bool> check_step(const Plan& plan, const PlanGraph& graph, const PlanStep& step, const Kernel* kernel,
                        const Target& target) {
  const OpDef* op = find_op(step.op);
  HUSSAR_CHECK(op != nullptr, ErrorCode::kPlanIncompatible, "step '{}' has the unknown operator {}", step.name,
               step.op);
  HUSSAR_TRY(check_counts(step, *op, kernel != nullptr));
  if (kernel == nullptr) return true;
  const Tactic* tactic = find_tactic(kernel->name);
  HUSSAR_CHECK(tactic != nullptr, ErrorCode::kPlanIncompatible, "no tactic offers the kernel '{}'", kernel->name);
  const Status library = kernel->vendor_library != nullptr ? kernel->vendor_library() : Status();
  HUSSAR_CHECK(library, ErrorCode::kPlanIncompatible,
               "step '{}' of the plan needs a library that this machine lacks: {}; or build the plan again with "
               "--libraries off",
               step.name, library.error().message);
  std::deque<Value> values;
  auto value_of = [&](int32_t index) -> Value* {
    if (index < 0) return nullptr;
    const PlanValue& entry = graph.values[static_cast<size_t>(index)];
    Value& value = values.emplace_back();
    value.dtype = entry.dtype;
    value.dims = entry.dims;
    value.layout = entry.layout;
    if (entry.storage != Storage::kConstant) return &value;
    Shape shape;
    for (const Dim& dim : *entry.dims) shape.push_back(dim.value());
    auto* data = const_cast<std::byte*>(plan.constants.data()) + entry.constant_offset;
    value.constant = Tensor::view(entry.dtype, shape, data);
    return &value;
  };
  Node node;
  node.op = step.op;
  node.name = step.name;
  node.attributes = step.attributes;
  node.program = step.program;
  node.program_inputs = step.program_inputs;
  for (int32_t input : step.inputs) node.inputs.push_back(value_of(input));
  for (int32_t output : step.outputs) node.outputs.push_back(value_of(output));
  // A branch may not fit the shapes that the plan was built for; it is refused when it is taken.
  if (!makes_sense(node, step, *kernel)) return false;
  Refusal refusal = tactic->supports(Problem{node, target});
  // Packed weights are not what the tactic was asked about; whether the kernel is for this operator it still knows.
  if (refusal && kernel->checks_shapes && *refusal != "op") return true;
  HUSSAR_CHECK(!refusal, ErrorCode::kPlanIncompatible,
               "the kernel '{}' does not take step '{}' ({}): {}; build the plan again", kernel->name, step.name,
               step.op, *refusal);
  return true;
}

}  // namespace hussar
