// tune_whole_plan: holds the contests between kernels that the whole plan decides, on the device.
//
// Both plans of a contest have a session, share what constants they share in the memory of the device, and replay what
// they have recorded, in turn. A plan that wins meets the next challengers.
#pragma once
#include <functional>

#include "compile/plan_contests.h"

namespace hussar {

struct WholePlanOptions {
  NamedShapes shapes;  // to measure at, where the model leaves them open
  double seconds = 0;  // after which no further pair of runs begins
  // Seconds; null: the machine's clock.
  std::function<double()> clock;
  // Told which part of the contests, or of the time, is over.
  std::function<void(double fraction)> progress;
};

// `base`: the plan of those who won by themselves, which freeze made of `graph`, as it was before, with `record`. What
// goes wrong ends the contests; what was decided by then counts.
Result<PlanDecisions> tune_whole_plan(PlanContests& contests, const Graph& graph, const FreezeRecord& record,
                                      const Plan& base, const WholePlanOptions& options);

}  // namespace hussar
