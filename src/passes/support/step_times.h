// For passes that choose (Pass::chooses): whether one step is faster than those that it stands for.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "passes/pass.h"

namespace hussar {

// Microseconds of the best kernels for the nodes together: measured where all are, else predicted; infinity when a node
// has no kernel.
struct StepTimes {
  double predicted = 0;
  std::optional<double> measured = 0;
  void add(const Node& node, const PassContext& context);
};

// As predicted, unless the measured times say clearly otherwise: the time of several steps is a sum of low percentiles,
// which flatters them, and the sums are of few runs.
bool is_faster(const StepTimes& together, const StepTimes& apart);

// "fuse_bottleneck: fused, predicted 80.0 us (apart 120.3 us), measured 78.1 us (apart 119.0 us)"
std::string describe(std::string_view pass, bool is_fused, const StepTimes& together, const StepTimes& apart);

// A line more in what readers of the plan are told.
void add_note(Node* node, const std::string& text);

}  // namespace hussar
