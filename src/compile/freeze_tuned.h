// From a graph on which the passes have run to a plan: measures, chooses kernels, freezes. On a device first by what
// rivals take alone, then by what the whole plan takes with them.
#pragma once
#include <span>

#include "compile/compile.h"
#include "compile/freeze.h"

namespace hussar {

// Of a budget on a device: what is left for contests in the whole plan, at least.
inline constexpr double kWholePlanShare = 0.15;

// Whether rivals are to be measured.
bool tunes(const CompileOptions& options, const Target& target);
// The same, and the plans can run: those for a GPU that is not here are not measured.
bool can_measure_plans(const CompileOptions& options, const Target& target);
// Gives the seconds that it took.
Result<double> tune_graphs(std::span<const Graph* const> graphs, const Target& target, const CompileOptions& options,
                           TimingCache& timings, CompileReport* report);

// What contests in the whole plan need of a graph that was frozen.
struct Draft {
  Graph graph;  // as it was before
  FreezeRecord record;
};

// By what rivals take alone; `tuned_seconds` of the budget are spent. The options have a timing cache. draft: null,
// where no contests follow.
Result<Plan> freeze_alone(Graph& graph, const Target& target, const CompileOptions& options, CompileReport* report,
                          double tuned_seconds, Draft* draft);
// Holds the contests for at most so long. `plan`: of freeze_alone, and so is `draft`.
Result<Plan> decide_in_whole_plan(Draft draft, Plan plan, const Target& target, const CompileOptions& options,
                                  double seconds, CompileReport* report);
// Both.
Result<Plan> freeze_tuned(Graph& graph, const Target& target, const CompileOptions& options, CompileReport* report,
                          double tuned_seconds = 0);

}  // namespace hussar
