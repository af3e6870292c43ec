// Values, nodes and bodies again, then weights and slices.
#include "compile/thaw.h"

#include "base/error.h"
#include "base/memory.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar {
namespace {

const Tactic* find_tactic(std::string_view kernel) {
  for (const Tactic* tactic : all_tactics()) {
    if (tactic->kernel == kernel) return tactic;
  }
  return nullptr;
}

class Thawer {
 public:
  Thawer(const Plan& plan, const PlanGraph& frozen) : plan_(plan), frozen_(frozen) {}

  Result<Graph> run() {
    for (const PlanValue& value : frozen_.values) add_value(value);
    for (int32_t input : frozen_.inputs) graph_.inputs.push_back(values_[input]);
    for (int32_t output : frozen_.outputs) graph_.outputs.push_back(values_[output]);
    for (const PlanStep& step : frozen_.steps) HUSSAR_TRY(add_node(step));
    HUSSAR_TRY(graph_.sort());  // unpacking may have added nodes
    HUSSAR_TRY(graph_.verify());
    return std::move(graph_);
  }

 private:
  void add_value(const PlanValue& frozen) {
    Value* value = graph_.add_value(frozen.name, frozen.dtype, frozen.dims);
    value->layout = frozen.layout;
    values_.push_back(value);
    if (frozen.storage != Storage::kConstant) return;
    Shape shape;
    for (const Dim& dim : *frozen.dims) shape.push_back(dim.value());
    // Nothing writes to constants; a Tensor has no other way to say so.
    auto* bytes = const_cast<std::byte*>(plan_.constants.data() + frozen.constant_offset);
    value->constant = Tensor::view(frozen.dtype, shape, bytes, plan_.owner);
  }

  Status add_node(const PlanStep& step) {
    Node& node =
        *graph_.add_node(step.op, step.name, pick(step.inputs), pick(step.outputs), Attributes(step.attributes));
    node.program = step.program;
    node.program_inputs = step.program_inputs;
    for (const auto& [name, body] : step.bodies) {
      Graph inner = HUSSAR_TRY(Thawer(plan_, *body).run());
      node.bodies.push_back({name, std::make_unique<Graph>(std::move(inner))});
    }
    const OpDef* op = find_op(step.op);
    HUSSAR_CHECK(op != nullptr, ErrorCode::kPlanIncompatible, "step '{}' has the unknown operator {}", step.name,
                 step.op);
    HUSSAR_TRY(check_arity(node, *op));
    if (step.kernel == "view") return restore_slices(step, node);
    if (step.kernel == kReferenceKernel) return {};
    const Tactic* tactic = find_tactic(step.kernel);
    HUSSAR_CHECK(tactic != nullptr, ErrorCode::kPlanIncompatible,
                 "step '{}' has weights for the kernel '{}', which this program does not have: build the plan again "
                 "from its ONNX model",
                 step.name, step.kernel);
    node.attributes.erase("hussar_threads");
    node.attributes.erase(kCodeAttribute);
    node.attributes.erase(kConfigurationAttribute);
    node.attributes.erase(kRowCountAttribute);
    if (tactic->unpack == nullptr) return {};
    Packing packing(graph_, node, {});
    HUSSAR_TRY(tactic->unpack(packing));
    for (size_t i = 0; i < node.inputs.size(); ++i) node.attributes.erase("hussar_packed_" + std::to_string(i));
    return {};
  }

  std::vector<Value*> pick(const std::vector<int32_t>& indices) const {
    std::vector<Value*> list;
    for (int32_t index : indices) list.push_back(index < 0 ? nullptr : values_[index]);
    return list;
  }

  int32_t holder_of(int32_t index) const {
    return frozen_.values[index].storage == Storage::kAlias ? frozen_.values[index].alias_of : index;
  }

  // Puts the part, and what it is a part of itself, into the whole.
  static void place(Value* part, Value* whole, int64_t offset) {
    for (; part->slice_of != nullptr; part = part->slice_of) offset -= part->channel_offset;
    if (part == whole) return;
    part->slice_of = whole;
    part->channel_offset = offset;
  }

  // A Concat or Split that is a view has its parts inside the whole, one after the other. Other views come by
  // themselves when the graph is frozen.
  Status restore_slices(const PlanStep& step, const Node& node) {
    if (step.op != "Concat" && step.op != "Split") return {};
    const bool joins = step.op == "Concat";
    const int32_t whole = joins ? step.outputs[0] : step.inputs[0];
    int64_t offset = 0;
    for (int32_t index : joins ? step.inputs : step.outputs) {
      bool fits = whole >= 0 && index >= 0 && holder_of(index) == holder_of(whole);
      Value* part = fits ? values_[index] : nullptr;
      fits = fits && part->layout == Layout::kChannelsLast && part->rank() >= 3 && (*part->dims)[1].is_constant() &&
             !part->is_constant();
      HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "{}: a view of what does not lie inside the whole",
                   describe(node));
      place(part, values_[whole], offset);
      offset += (*part->dims)[1].value();
    }
    return {};
  }

  const Plan& plan_;
  const PlanGraph& frozen_;
  Graph graph_;
  std::vector<Value*> values_;
};

}  // namespace

Result<Graph> thaw(const Plan& plan) {
  return catching("rebuild the plan", [&] { return Thawer(plan, plan.graph).run(); });
}

}  // namespace hussar
