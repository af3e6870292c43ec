// Chooses a tactic for a node.
#pragma once
#include <functional>

#include "tactics/tactic.h"

namespace hussar {

// One way to do a piece of work: a tactic, how many threads it gets, and how its kernel goes about it.
struct Rival {
  const Tactic* tactic = nullptr;
  int threads = 1;
  std::string_view configuration;  // empty: the usual one
  Refusal refusal;                 // why it cannot
  double predicted = 0;            // microseconds, when it can
  std::optional<double> measured;  // microseconds, in the model; on a device alone
  // "conv_tile", "conv_tile/1" with fewer threads than the target has, "conv_tile:by_rows" in a configuration
  std::string name(const Target& target) const;
};

struct Choice {
  Target target;
  // All that were looked at; those of other operators were not.
  std::vector<Rival> rivals;
  int chosen = -1;  // -1: only the reference evaluator can do it
  // Between whom the whole plan decided, the chosen one among them; empty: times of rivals alone did.
  std::vector<size_t> in_plan;
  const Rival* rival() const { return chosen < 0 ? nullptr : &rivals[static_cast<size_t>(chosen)]; }
  const Tactic* tactic() const { return chosen < 0 ? nullptr : rival()->tactic; }
};

// What a rival took for this work when it was measured; nullopt: it was not. kImpossible: its library did not take it.
inline constexpr double kImpossible = 1e9;
using Timings = std::function<std::optional<double>(const Problem& problem, const Rival& rival)>;

// The supported rival with the least predicted time, in its usual configuration; with timings, the one with the least
// measured time, if it beats the measured time of the first by more than noise, and in a configuration that of the
// usual one too.
Choice choose(const Problem& problem, const Timings& timings = nullptr);

// Whether a kernel of the target's own place does it: what none of a device's takes is left to the host.
bool has_own_kernel(const Problem& problem);

// Predicted microseconds of the target's fastest kernel, among them those for 2:4 weights that would have to be
// measured to be chosen; infinity: none of the target's place takes the problem.
double least_time(const Problem& problem);

// The rivals in their usual configuration that are worth measuring, the likeliest first: predicted within a factor of
// the best, at most `most`. Indices into choice.rivals; one or none when there is nothing to decide.
std::vector<size_t> contenders(const Choice& choice, size_t most);

// The same for the configurations of what was chosen: its usual one, then others that are not predicted to be much
// slower.
std::vector<size_t> configurations_of(const Choice& choice, size_t most);

// One line per rival: "conv_tile: chosen, measured 120.0 us, predicted 118.3 us", "conv_depthwise: refused, groups"
std::string describe(const Choice& choice);

// A line of that.
struct RivalLine {
  std::string name, verdict;  // "conv_tile/1"; "chosen", "slower", "refused, groups"
  bool is_refused = false;
  std::optional<double> measured, predicted;
};
std::vector<RivalLine> read_description(std::string_view text);

}  // namespace hussar
