// One figure for many timed runs on a machine that others use, too.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

namespace hussar {

// The lower quartile: between the least, which can be luck, and the median, which counts bursts of other work. 0 for
// no samples.
inline double score(std::vector<double> samples) {
  if (samples.empty()) return 0;
  auto quarter = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 4);
  std::nth_element(samples.begin(), quarter, samples.end());
  return *quarter;
}

}  // namespace hussar
