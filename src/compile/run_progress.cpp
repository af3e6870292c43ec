// Fractions of a run.
#include "compile/run_progress.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "compile/flops.h"

namespace hussar {

std::function<void(const StepTime&)> run_progress(const Plan& plan, const std::vector<Shape>& input_shapes, int isa,
                                                  std::function<void(double fraction)> tell) {
  if (!tell) return nullptr;
  // Also for steps whose work nobody knows.
  constexpr double kLeastSeconds = 1e-6;
  std::vector<double> ends = guess_step_seconds(plan, input_shapes, isa);
  for (double& seconds : ends) seconds = std::max(seconds, kLeastSeconds);
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  return [first = plan.graph.steps.data(), ends = std::move(ends), tell = std::move(tell)](const StepTime& time) {
    tell(ends[static_cast<size_t>(time.step - first)] / ends.back());
  };
}

}  // namespace hussar
