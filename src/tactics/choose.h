// Chooses a tactic for a node.
#pragma once
#include "tactics/tactic.h"

namespace hussar {

struct Rival {
  std::string_view kernel;
  Refusal refusal;  // why it cannot
  double cost = 0;  // predicted microseconds, when it can
};

struct Choice {
  const Tactic* tactic = nullptr;  // null: only the reference evaluator can do it
  std::vector<Rival> rivals;       // all tactics of the operator's kind that were looked at, the chosen one included
};

// The supported tactic with the least predicted cost.
Choice choose(const Problem& problem);
// "conv_tile (predicted 120 us); not conv_depthwise: groups"
std::string describe(const Choice& choice);

}  // namespace hussar
