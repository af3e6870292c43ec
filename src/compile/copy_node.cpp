// Copies of nodes and of plan graphs.
#include "compile/copy_node.h"

#include <string>
#include <unordered_map>

#include "base/error.h"
#include "plan/kernel.h"

namespace hussar {
namespace {

Value* copy_value(Graph& graph, const Value* value, std::unordered_map<const Value*, Value*>& copies) {
  if (value == nullptr) return nullptr;
  Value*& copy = copies[value];
  if (copy != nullptr) return copy;
  copy = value->is_constant() ? graph.add_constant(value->name, *value->constant)
                              : graph.add_value(value->name, value->dtype, value->dims);
  copy->layout = value->layout;
  copy->channel_offset = value->channel_offset;
  Value* made = copy;  // the map may move it
  if (value->slice_of != nullptr) made->slice_of = copy_value(graph, value->slice_of, copies);
  return made;
}

}  // namespace

NodeCopy copy_node(const Node& node) {
  NodeCopy copy;
  std::unordered_map<const Value*, Value*> copies;
  std::vector<Value*> inputs, outputs;
  for (const Value* input : node.inputs) inputs.push_back(copy_value(copy.graph, input, copies));
  for (const Value* output : node.outputs) outputs.push_back(copy_value(copy.graph, output, copies));
  copy.node = copy.graph.add_node(node.op, node.name, inputs, outputs, node.attributes);
  copy.node->program = node.program;
  copy.node->program_inputs = node.program_inputs;
  return copy;
}

Status pack_copy(NodeCopy& copy, const Rival& rival, const Target& target, std::vector<Packing::Job>& jobs) {
  if (!rival.configuration.empty())
    copy.node->attributes.set(kConfigurationAttribute, std::string(rival.configuration));
  if (rival.tactic->pack == nullptr) return {};
  Packing packing(copy.graph, *copy.node, target);
  HUSSAR_TRY(rival.tactic->pack(packing));
  jobs.insert(jobs.end(), packing.jobs.begin(), packing.jobs.end());
  return {};
}

PlanGraph copy_graph(const PlanGraph& graph) {
  PlanGraph copy{graph.values, {}, graph.inputs, graph.outputs};
  for (const PlanStep& step : graph.steps) {
    copy.steps.push_back({step.kernel,
                          step.op,
                          step.name,
                          step.attributes,
                          step.inputs,
                          step.outputs,
                          {},
                          step.program,
                          step.program_inputs,
                          step.report,
                          step.flops_per_output});
    for (const auto& [name, body] : step.bodies) {
      copy.steps.back().bodies.emplace_back(name, std::make_unique<PlanGraph>(copy_graph(*body)));
    }
  }
  return copy;
}

}  // namespace hussar
