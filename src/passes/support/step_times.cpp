#include "passes/support/step_times.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "tactics/choose.h"

namespace hussar {

void StepTimes::add(const Node& node, const PassContext& context) {
  const Choice choice = choose(Problem{node, context.target}, context.timings);
  const Rival* best = choice.rival();
  const bool fits = best != nullptr && best->tactic->place == context.target.place;
  predicted += fits ? best->predicted : std::numeric_limits<double>::infinity();
  measured = best != nullptr && best->measured && measured ? std::optional(*measured + *best->measured) : std::nullopt;
}

bool is_faster(const StepTimes& together, const StepTimes& apart) {
  constexpr double kClear = 0.9;
  const bool predicted = together.predicted < apart.predicted;
  if (!together.measured || !apart.measured) return predicted;
  return predicted ? *apart.measured >= kClear * *together.measured : *together.measured < kClear * *apart.measured;
}

std::string describe(std::string_view pass, bool is_fused, const StepTimes& together, const StepTimes& apart) {
  auto pair = [&](const char* how, double fused, double separate) {
    if (!std::isfinite(fused)) return std::string(", no kernel takes the fused form");
    return is_fused ? fmt::format(", {} {:.1f} us (apart {:.1f} us)", how, fused, separate)
                    : fmt::format(", {} {:.1f} us (fused {:.1f} us)", how, separate, fused);
  };
  std::string text = fmt::format("{}: {}", pass, is_fused ? "fused" : "left apart");
  text += pair("predicted", together.predicted, apart.predicted);
  if (together.measured && apart.measured) text += pair("measured", *together.measured, *apart.measured);
  return text;
}

void add_note(Node* node, const std::string& text) { node->note += (node->note.empty() ? "" : "\n") + text; }

}  // namespace hussar
