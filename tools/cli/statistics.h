// Order statistics of measured times.
#pragma once
#include <vector>

#include "tools/cli/json.h"

namespace hussar::cli {

// In the unit of the samples.
struct TimeStatistics {
  double min = 0, mean = 0, median = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};
// Percentiles interpolate linearly between neighbours. Zeros when there is no sample.
TimeStatistics statistics(std::vector<double> samples);
Json to_json(const TimeStatistics& statistics);

}  // namespace hussar::cli
