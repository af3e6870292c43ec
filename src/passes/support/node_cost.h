// The time of nodes together, for passes that choose.
#pragma once
#include <optional>

#include "passes/pass.h"

namespace hussar {

// Microseconds of the best kernels: measured where all are, else predicted; infinity when a node has no kernel of the
// target's own place.
struct NodeCost {
  double predicted = 0;
  std::optional<double> measured = 0;
  void add(const Node& node, const PassContext& context);
};

// "PASS: fused, predicted 80.0 us (apart 120.3 us), measured 78.1 us (apart 119.0 us)"
std::string describe_choice(std::string_view pass, bool is_fused, const NodeCost& together, const NodeCost& apart);
void add_note(Node* node, const std::string& text);

}  // namespace hussar
