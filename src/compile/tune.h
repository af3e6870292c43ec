// tune: measures the rivals of every step where they will run, in the model.
//
// For every rival of the most contested step one plan of the whole model is made, so that each rival of each step is in
// some plan; the plans run in turn, round after round, and every step is timed in every run. So a rival meets the
// caches and the other threads as in real runs, all steps are tuned at once, and slow moments of the machine hit all
// alike. Equal problems are one. Steps inside the bodies of If, Loop and Scan take what was measured elsewhere or
// predicted.
#pragma once
#include <functional>
#include <span>
#include <string>

#include "compile/spelling.h"
#include "graph/graph.h"
#include "tactics/choose.h"
#include "tactics/timing_cache.h"

namespace hussar {

struct TuneOptions {
  double seconds = 0;  // after which no further round begins
  double reserve = 0;  // on a device: of what comes behind `seconds`, for measurements that may gain much
  NamedShapes shapes;  // to measure at, where the model leaves them open
  bool all = false;    // also problems that have one kernel only; on a device all rivals
  // Told after every run which part of the time or of the rounds is used up, whichever is more.
  std::function<void(double fraction)> progress;
  // Seconds, by which a device's tuner measures and ends; null: the machine's clock.
  std::function<double()> clock;
};

struct TuneReport {
  int problems = 0;  // different problems that were looked at
  int measured = 0;  // of these, not found in the cache and measured
  int rounds = 0;
  double seconds = 0;
  std::string skipped;  // why nothing could be measured
  // On a device: problems that the whole plan decided, those of them that others would have had by times alone, and the
  // part of the plan's time that this saved.
  int in_plan = 0, changed = 0;
  double gain = 0;
  // "14 problems, 12 measured, 15 rounds, 2.10 s; 5 decided by the whole plan, 1 of them differently: 1.3 % faster"
  std::string to_string() const;
  void add(const TuneReport& other);
};

// Adds to the cache what the rivals of the graphs take on this machine. The graphs are forms of one model on which the
// passes have run; they stay as they are.
Result<TuneReport> tune(std::span<const Graph* const> graphs, const Target& target, const TuneOptions& options,
                        TimingCache& cache);

// Looks measurements up. The cache must outlive the result.
Timings timings_from(const TimingCache& cache, const Target& target, const NamedShapes& shapes);

}  // namespace hussar
