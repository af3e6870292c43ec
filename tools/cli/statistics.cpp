// Percentiles.
#include "tools/cli/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace hussar::cli {
namespace {

double percentile(const std::vector<double>& sorted, double share) {
  double place = share * static_cast<double>(sorted.size() - 1);
  auto below = static_cast<size_t>(std::floor(place));
  size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

TimeStatistics statistics(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  double mean = std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
  return {samples.front(),
          mean,
          percentile(samples, 0.5),
          percentile(samples, 0.9),
          percentile(samples, 0.95),
          percentile(samples, 0.99),
          samples.back()};
}

Json to_json(const TimeStatistics& statistics) {
  Json json = Json::object();
  json.set("min", statistics.min).set("mean", statistics.mean).set("median", statistics.median);
  json.set("p90", statistics.p90).set("p95", statistics.p95).set("p99", statistics.p99);
  return std::move(json.set("max", statistics.max));
}

}  // namespace hussar::cli
