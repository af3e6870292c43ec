#include "passes/support/weight_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hussar {
namespace {

// A quantized weight has been multiplied with its scale, and perhaps with what a pass folded into it.
constexpr float kRelative = 1.5e-6F;

bool fits(const NumberLine& line, float scale) {
  for (int64_t i = 0; i < line.count; ++i) {
    const float ratio = line[i] / scale, q = std::nearbyint(ratio);
    if (q < -128 || q > 127 || !(std::fabs(ratio - q) <= kRelative * std::fabs(q))) return false;
  }
  return true;
}

int64_t equal_numbers(const NumberLine& line, float scale) {
  int64_t equal = 0;
  for (int64_t i = 0; i < line.count; ++i) equal += std::nearbyint(line[i] / scale) * scale == line[i] ? 1 : 0;
  return equal;
}

}  // namespace

std::optional<float> grid_of(const NumberLine& line) {
  float largest = 0;
  for (int64_t i = 0; i < line.count; ++i) largest = std::max(largest, std::fabs(line[i]));
  if (largest == 0) return 1.0F;
  if (largest < std::numeric_limits<float>::min() * 1024 || !std::isfinite(largest)) return std::nullopt;
  for (int steps = 1; steps <= 128; ++steps) {
    const float scale = largest / static_cast<float>(steps);
    if (!fits(line, scale)) continue;
    // The quotient may be a neighbour of the model's scale: the one with which the numbers come back is.
    float best = scale;
    int64_t most = equal_numbers(line, scale);
    float below = scale, above = scale;
    for (int distance = 1; distance <= 2 && most < line.count; ++distance) {
      below = std::nextafter(below, 0.0F);
      above = std::nextafter(above, largest);
      for (float candidate : {below, above}) {
        const int64_t equal = equal_numbers(line, candidate);
        if (equal > most) most = equal, best = candidate;
      }
    }
    return best;
  }
  return std::nullopt;
}

}  // namespace hussar
