// Timing whole runs.
#include "compile/whole_runs.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace hussar {

// Microseconds of a sample: long beside what beginning and waiting take.
static constexpr double kLongEnough = 4000;
static constexpr int kMostRunsOfSample = 50;

double WholeRuns::now() const {
  if (clock_) return clock_();
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Result<double> WholeRuns::time(int runs) {
  const double begin = now();
  if (is_recorded_) {
    HUSSAR_TRY(session_.time_on_device(runs));
  } else {
    for (int i = 0; i < runs; ++i) HUSSAR_TRY(session_.run_in_order(inputs_));
  }
  return (now() - begin) * 1e6 / runs;
}

Status WholeRuns::warm_up() {
  // The second run records.
  for (int i = 0; i < 2; ++i) HUSSAR_TRY(session_.run_in_order(inputs_));
  is_recorded_ = session_.time_on_device(1).has_value();
  const double once = std::max(HUSSAR_TRY(time(1)), 1.0);
  runs_ = std::clamp(static_cast<int>(kLongEnough / once + 0.5), 1, kMostRunsOfSample);
  return {};
}

Result<double> WholeRuns::sample() { return time(runs_); }

}  // namespace hussar
