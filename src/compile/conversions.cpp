#include "compile/conversions.h"

#include "tactics/choose.h"

namespace hussar {

Conversion conversion_of(const PlanGraph& graph, const PlanStep& step) {
  if (step.op == "hussar.Reformat") return Conversion::kLayout;
  if (step.op == "QuantizeLinear" || step.op == "DequantizeLinear" || step.op == "DynamicQuantizeLinear" ||
      step.op == "hussar.QuantizeHeads" || step.op == "hussar.QuantizeRows") {
    return Conversion::kPrecision;
  }
  if (step.op != "Cast" || step.inputs.empty() || step.inputs[0] < 0 || step.outputs.empty() || step.outputs[0] < 0) {
    return Conversion::kNone;
  }
  const DType from = graph.values[static_cast<size_t>(step.inputs[0])].dtype;
  const DType to = graph.values[static_cast<size_t>(step.outputs[0])].dtype;
  return from != to && is_floating(from) && is_floating(to) ? Conversion::kPrecision : Conversion::kNone;
}

void Conversions::add(Conversion kind, bool is_view, double microseconds_of_step) {
  microseconds += microseconds_of_step;
  if (kind == Conversion::kNone) return;
  ConversionCount& count = kind == Conversion::kLayout ? layout : precision;
  ++count.steps;
  count.views += is_view ? 1 : 0;
  count.microseconds += microseconds_of_step;
}

double Conversions::share(const ConversionCount& count) const {
  return microseconds > 0 ? count.microseconds / microseconds : 0;
}

static double expected_microseconds(const PlanStep& step) {
  for (const RivalLine& rival : read_description(step.report)) {
    if (rival.verdict == "chosen") return rival.measured.value_or(rival.predicted.value_or(0));
  }
  return 0;
}

static void add_steps(const PlanGraph& graph, Conversions& conversions) {
  for (const PlanStep& step : graph.steps) {
    const bool is_view = step.kernel == "view";
    conversions.add(conversion_of(graph, step), is_view, is_view ? 0 : expected_microseconds(step));
    for (const auto& [name, body] : step.bodies) add_steps(*body, conversions);
  }
}

Conversions expected_conversions(const PlanGraph& graph) {
  Conversions conversions;
  add_steps(graph, conversions);
  return conversions;
}

}  // namespace hussar
