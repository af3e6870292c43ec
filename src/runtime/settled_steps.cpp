#include "runtime/settled_steps.h"

#include <algorithm>

#include "ops/op_def.h"

namespace hussar {
namespace {

int32_t holder_of(const PlanGraph& graph, int32_t value) {
  return graph.values[value].storage == Storage::kAlias ? graph.values[value].alias_of : value;
}

}  // namespace

std::vector<bool> settled_steps(const PlanGraph& graph) {
  std::vector<bool> is_settled(graph.values.size()), settled;
  for (size_t i = 0; i < graph.values.size(); ++i) is_settled[i] = graph.values[i].storage == Storage::kConstant;
  // Elsewhere the elements of other values decide how large a value is.
  auto has_bound_shape = [&](int32_t value) {
    const PlanValue& entry = graph.values[value];
    return entry.storage == Storage::kInput || (entry.storage != Storage::kHeap && entry.dims.has_value());
  };
  for (const PlanStep& step : graph.steps) {
    const OpDef* op = find_op(step.op);
    const bool reads_elements = !has_trait(op, kShapeOnly);
    const bool can_settle = op != nullptr && !has_trait(op, kImpure) && step.bodies.empty();
    settled.push_back(can_settle && std::all_of(step.inputs.begin(), step.inputs.end(), [&](int32_t input) {
                        return input < 0 || is_settled[input] || (!reads_elements && has_bound_shape(input));
                      }));
    for (int32_t output : step.outputs) {
      if (output >= 0) is_settled[output] = settled.back();
    }
  }
  return settled;
}

std::vector<int32_t> settled_values(const PlanGraph& graph, const std::vector<bool>& settled) {
  std::vector<bool> is_written(graph.values.size()), is_used(graph.values.size());
  for (size_t i = 0; i < graph.steps.size(); ++i) {
    for (const auto* list : {&graph.steps[i].inputs, &graph.steps[i].outputs}) {
      for (int32_t value : *list) {
        if (value < 0) continue;
        const bool is_output = list == &graph.steps[i].outputs;
        if (settled[i] && is_output) is_written[holder_of(graph, value)] = true;
        if (!settled[i]) is_used[holder_of(graph, value)] = true;
      }
    }
  }
  for (int32_t output : graph.outputs) is_used[holder_of(graph, output)] = true;
  std::vector<int32_t> values;
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (is_written[i] && is_used[i]) values.push_back(static_cast<int32_t>(i));
  }
  return values;
}

}  // namespace hussar
