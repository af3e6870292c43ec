#include "compile/packed_rows.h"

#include <algorithm>
#include <cstring>

#include "plan/kernel.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

const PlanStep* find_order(const PlanGraph& graph) {
  auto it = std::find_if(graph.steps.begin(), graph.steps.end(),
                         [](const PlanStep& step) { return step.op == "hussar.TokenOrder"; });
  return it == graph.steps.end() ? nullptr : &*it;
}

const PlanStep* producer_of(const PlanGraph& graph, int32_t value) {
  for (const PlanStep& step : graph.steps) {
    if (std::find(step.outputs.begin(), step.outputs.end(), value) != step.outputs.end()) return &step;
  }
  return nullptr;
}

// Whether it is what a GatherRows gives, possibly in another type.
bool is_put_back(const PlanGraph& graph, int32_t value, int32_t place) {
  const PlanStep* step = producer_of(graph, value);
  while (step != nullptr && step->op == "Cast" && !step->program) step = producer_of(graph, step->inputs[0]);
  return step != nullptr && step->op == "hussar.GatherRows" && step->inputs[1] == place;
}

}  // namespace

bool leaves_out_padding(const PlanGraph& graph) { return find_order(graph) != nullptr; }

std::optional<PackedRows> packed_rows(const PlanGraph& graph) {
  const PlanStep* order = find_order(graph);
  if (order == nullptr || order->inputs.empty()) return std::nullopt;
  auto input = std::find(graph.inputs.begin(), graph.inputs.end(), order->inputs[0]);
  if (input == graph.inputs.end()) return std::nullopt;
  PackedRows rows;
  rows.mask = static_cast<size_t>(input - graph.inputs.begin());
  rows.inverted = order->attributes.get_int("inverted", 0) != 0;
  const int32_t place = order->outputs.size() > 1 ? order->outputs[1] : -1;
  for (int32_t output : graph.outputs) rows.are_packed.push_back(place >= 0 && is_put_back(graph, output, place));
  return rows;
}

std::set<std::string> packed_tensors(const PlanGraph& graph) {
  std::set<std::string> names;
  for (const PlanStep& step : graph.steps) {
    for (int32_t output : step.outputs) {
      if (output >= 0 && step.attributes.has(kRowCountAttribute)) names.insert(graph.values[output].name);
    }
  }
  return names;
}

void clear_padding(const PackedRows& rows, std::span<const Tensor> inputs, std::span<Tensor> outputs) {
  const Tensor& mask = inputs[rows.mask];
  std::vector<float> numbers(static_cast<size_t>(mask.elements()));
  load_elements<float>(mask, 0, mask.elements(), numbers.data());
  for (size_t i = 0; i < std::min(outputs.size(), rows.are_packed.size()); ++i) {
    if (!rows.are_packed[i] || numbers.empty()) continue;
    const size_t bytes = outputs[i].bytes() / numbers.size();
    for (size_t row = 0; row < numbers.size(); ++row) {
      if ((numbers[row] != 0) == rows.inverted) std::memset(outputs[i].raw() + row * bytes, 0, bytes);
    }
  }
}

}  // namespace hussar
