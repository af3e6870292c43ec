// How far a run is, for whoever waits for it.
#pragma once
#include <functional>
#include <vector>

#include "plan/plan.h"
#include "runtime/session.h"

namespace hussar {

// For Session::set_profiler: tells after each step which part of one run is done, by the guessed times of the steps.
// `isa` is that of guess_seconds(). The plan must outlive the result.
std::function<void(const StepTime&)> run_progress(const Plan& plan, const std::vector<Shape>& input_shapes, int isa,
                                                  std::function<void(double fraction)> tell);

}  // namespace hussar
