#include "passes/support/weight_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hussar {
namespace {

// A quantized weight has been multiplied with its scale, and perhaps with what a pass folded into it.
constexpr float kRelative = 1.5e-6F;

// Bytes less a zero point are from -255 to 255.
constexpr float kMostSpan = 255;

// The offset nearest to 0 with which all numbers fit.
std::optional<int32_t> offset_of(const NumberLine& line, float scale) {
  float least = kMostSpan, most = -kMostSpan;
  for (int64_t i = 0; i < line.count; ++i) {
    const float ratio = line[i] / scale, q = std::nearbyint(ratio);
    least = std::min(least, q);
    most = std::max(most, q);
    if (most - least > kMostSpan || !(std::fabs(ratio - q) <= kRelative * std::fabs(q))) return std::nullopt;
  }
  return static_cast<int32_t>(std::clamp(0.0F, most - 127, least + 128));
}

int64_t equal_numbers(const NumberLine& line, float scale) {
  int64_t equal = 0;
  for (int64_t i = 0; i < line.count; ++i) equal += std::nearbyint(line[i] / scale) * scale == line[i] ? 1 : 0;
  return equal;
}

}  // namespace

std::optional<WeightGrid> grid_of(const NumberLine& line) {
  float largest = 0;
  for (int64_t i = 0; i < line.count; ++i) largest = std::max(largest, std::fabs(line[i]));
  if (largest == 0) return WeightGrid{};
  if (largest < std::numeric_limits<float>::min() * 1024 || !std::isfinite(largest)) return std::nullopt;
  for (int steps = 1; steps <= static_cast<int>(kMostSpan); ++steps) {
    const float scale = largest / static_cast<float>(steps);
    const auto offset = offset_of(line, scale);
    if (!offset) continue;
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
    return WeightGrid{best, *offset};
  }
  return std::nullopt;
}

}  // namespace hussar
