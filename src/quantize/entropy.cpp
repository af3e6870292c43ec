// All thresholds in one walk: prefix sums leave one logarithm per level and threshold.
#include "quantize/entropy.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace hussar {
namespace {

constexpr int kLevels = 127;
// Counts as so many elements what has to be there and is not: a level without elements whose bin holds clipped ones.
constexpr double kNearlyNone = 1e-4;
constexpr double kNearlyEqual = 1e-12;

// Replaces normal numbers above zero by their natural logarithms, within 1e-14: without calls, so that it vectorises,
// and without fused multiply-adds, so that the bits are the same everywhere.
__attribute__((always_inline)) inline void take_logarithms(double* numbers, int count) {
  constexpr uint64_t kOne = 0x3ff0000000000000, kRootOfHalf = 0x3fe6a09e667f3bcd, kMagic = 0x4330000000000000;
  constexpr double kLogarithmOfTwo = 0.6931471805599453;
  for (int i = 0; i < count; ++i) {
    uint64_t bits;
    std::memcpy(&bits, numbers + i, sizeof(bits));
    // The number is 2^exponent * rest with a rest from the root of 1/2 to that of 2.
    const uint64_t scaled = bits + (kOne - kRootOfHalf), rest_bits = bits - (scaled >> 52 << 52) + kOne;
    const uint64_t exponent_bits = scaled >> 52 | kMagic;
    double exponent, rest;
    std::memcpy(&exponent, &exponent_bits, sizeof(exponent));
    std::memcpy(&rest, &rest_bits, sizeof(rest));
    exponent -= 4503599627370496.0 + 1023;  // 2^52
    const double x = (rest - 1) / (rest + 1), z = x * x;
    double series = 1.0 / 15;
    for (int term = 13; term > 0; term -= 2) series = series * z + 1.0 / term;
    numbers[i] = exponent * kLogarithmOfTwo + 2 * x * series;
  }
}

void take_logarithms_anywhere(double* numbers, int count) { take_logarithms(numbers, count); }
#ifdef __x86_64__
__attribute__((target("avx2"))) void take_logarithms_avx2(double* numbers, int count) {
  take_logarithms(numbers, count);
}
const auto kTakeLogarithms = __builtin_cpu_supports("avx2") != 0 ? take_logarithms_avx2 : take_logarithms_anywhere;
#else
const auto kTakeLogarithms = take_logarithms_anywhere;
#endif

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
  double here[kLevels], shares[kLevels];
  for (int level = 0; level < kLevels; ++level) {
    // Bins whose middle lies before the level's end; the last level takes what is left.
    const double edge = (level + 1) * width - 0.5;
    auto end = static_cast<size_t>(edge);
    end += static_cast<double>(end) < edge ? 1 : 0;
    if (level == kLevels - 1 || end > last) end = last + 1;
    here[level] = 0;
    shares[level] = 1;
    if (end <= begin) continue;
    const bool has_last = end == last + 1;
    double count = prefix.count[end] - prefix.count[begin], filled = prefix.filled[end] - prefix.filled[begin];
    // The last bin counts as filled by what is clipped into it.
    if (has_last && in_last <= 0 && clipped > 0) filled += 1;
    here[level] = count + (has_last ? clipped : 0);
    if (here[level] > 0) shares[level] = std::max(count, kNearlyNone) / filled;
    begin = end;
  }
  kTakeLogarithms(shares, kLevels);
  const double all_kept = std::log(kept);
  for (int level = 0; level < kLevels; ++level) sum -= here[level] * (shares[level] - all_kept);
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
    // The widest of those that only rounding tells apart.
    if (here <= least + kNearlyEqual) best = last;
    least = std::min(least, here);
  }
  return static_cast<double>(best) + 0.5;
}

}  // namespace hussar
