#include "passes/support/node_cost.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace hussar {

void NodeCost::add(const Node& node, const PassContext& context) {
  const Choice choice = choose(Problem{node, context.target}, context.timings);
  const Rival* best = choice.rival();
  const bool fits = best != nullptr && best->tactic->place == context.target.place;
  predicted += fits ? best->predicted : std::numeric_limits<double>::infinity();
  measured = best != nullptr && best->measured && measured ? std::optional(*measured + *best->measured) : std::nullopt;
}

std::string describe_choice(std::string_view pass, bool is_fused, const NodeCost& together, const NodeCost& apart) {
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
