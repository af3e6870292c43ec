// All thresholds in one walk: prefix sums leave one logarithm per level and threshold.
#include "quantize/entropy.h"

#include <cmath>
#include <limits>
#include <vector>

namespace hussar {
namespace {

constexpr int kLevels = 127;
// Counts as so many elements what has to be there and is not: a level without elements whose bin holds clipped ones.
constexpr double kNearlyNone = 1e-4;

struct Prefix {
  explicit Prefix(std::span<const double> magnitudes) : count(1), weighted(1), filled(1) {
    for (size_t i = 0; i < magnitudes.size(); ++i) {
      double here = i == 0 ? 0 : magnitudes[i];  // the first bin is left out
      count.push_back(count.back() + here);
      weighted.push_back(weighted.back() + (here > 0 ? here * std::log(here) : 0));
      filled.push_back(filled.back() + (here > 0 ? 1 : 0));
    }
  }
  // Of the bins before index i: elements, their logarithms weighted with their count, and how many are not empty.
  std::vector<double> count, weighted, filled;
};

// The divergence for the bins 0 to `last`.
double divergence(const Prefix& prefix, size_t last) {
  const double all = prefix.count.back(), kept = prefix.count[last + 1];
  const double in_last = prefix.count[last + 1] - prefix.count[last], clipped = all - kept;
  if (kept <= 0) return std::numeric_limits<double>::infinity();
  // The sum of p log p, with p a share of all elements.
  double reference = in_last + clipped;
  double sum = prefix.weighted[last] + (reference > 0 ? reference * std::log(reference) : 0) - all * std::log(all);
  // Minus the sum of p log q, with q a share of the elements kept.
  const double width = (static_cast<double>(last) + 0.5) / kLevels;
  size_t begin = 0;
  for (int level = 0; level < kLevels; ++level) {
    // Bins whose middle lies before the level's end; the last level takes what is left.
    auto end = static_cast<size_t>(std::ceil((level + 1) * width - 0.5));
    if (level == kLevels - 1 || end > last) end = last + 1;
    if (end <= begin) continue;
    const bool has_last = end == last + 1;
    double count = prefix.count[end] - prefix.count[begin], filled = prefix.filled[end] - prefix.filled[begin];
    // The last bin counts as filled by what is clipped into it.
    if (has_last && in_last <= 0 && clipped > 0) filled += 1;
    double here = count + (has_last ? clipped : 0);
    if (here > 0) sum -= here * (std::log(std::max(count, kNearlyNone) / filled) - std::log(kept));
    begin = end;
  }
  return sum / all;
}

}  // namespace

double entropy_threshold(std::span<const double> magnitudes) {
  size_t top = magnitudes.size();
  while (top > 0 && magnitudes[top - 1] <= 0) --top;
  const Prefix prefix(magnitudes);
  if (top <= kLevels || prefix.filled.back() < 2) return 0;
  double least = std::numeric_limits<double>::infinity();
  size_t best = top - 1;
  for (size_t last = kLevels; last < top; ++last) {
    double here = divergence(prefix, last);
    if (here < least) {
      least = here;
      best = last;
    }
  }
  return static_cast<double>(best) + 0.5;
}

}  // namespace hussar
