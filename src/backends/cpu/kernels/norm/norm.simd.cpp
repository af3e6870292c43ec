// Mean first, then the squares of the distances from it: two passes over a row in the L1 cache are as fast as one and
// do not cancel.
#include "backends/cpu/kernels/norm/norm.h"

#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// The sum of (x - shift)^2, or of x itself.
template <bool kSquares>
float sum_of(const float* x, int64_t length, float shift) {
  Vec sums[4] = {set(0.0f), set(0.0f), set(0.0f), set(0.0f)};
  const Vec less = set(shift);
  auto add = [&](Vec& sum, Vec value) {
    if constexpr (kSquares) {
      const Vec distance = value - less;
      sum = fma(distance, distance, sum);
    } else {
      sum = sum + value;
    }
  };
  int64_t i = 0;
  for (; i + 4 * kLanes <= length; i += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) add(sums[k], load(x + i + k * kLanes));
  }
  for (; i + kLanes <= length; i += kLanes) add(sums[0], load(x + i));
  float total = sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < length; ++i) total += kSquares ? (x[i] - shift) * (x[i] - shift) : x[i];
  return total;
}

// kRows rows at a time: the sums of a row wait for each other, those of different rows do not, and scale and bias are
// loaded once for all.
template <int kRows>
void few_rows(const NormRows& args, int64_t row) {
  const float count = static_cast<float>(args.length);
  const float* x[kRows];
  float* y[kRows];
  float mean[kRows], inverse[kRows];
  for (int r = 0; r < kRows; ++r) {
    x[r] = args.input + (row + r) * args.input_pitch;
    y[r] = args.output + (row + r) * args.output_pitch;
  }
  for (int r = 0; r < kRows; ++r) mean[r] = args.center ? sum_of<false>(x[r], args.length, 0.0f) / count : 0.0f;
  for (int r = 0; r < kRows; ++r) {
    const float variance = sum_of<true>(x[r], args.length, mean[r]) / count;
    inverse[r] = 1.0f / sqrtf(variance + args.epsilon);
    if (args.mean != nullptr) args.mean[row + r] = mean[r];
    if (args.inverse_deviation != nullptr) args.inverse_deviation[row + r] = inverse[r];
  }
  auto normalize = [&](int64_t i, int lanes) {
    const Vec scale = args.scale == nullptr ? set(1.0f) : load_up_to(args.scale + i, lanes);
    const Vec bias = args.bias == nullptr ? set(0.0f) : load_up_to(args.bias + i, lanes);
    for (int r = 0; r < kRows; ++r) {
      // The mean is taken off first: with a tiny variance x * factor and mean * factor would cancel.
      const Vec distance = load_up_to(x[r] + i, lanes) - set(mean[r]);
      store_up_to(y[r] + i, distance * set(inverse[r]) * scale + bias, lanes);
    }
  };
  int64_t i = 0;
  for (; i + kLanes <= args.length; i += kLanes) normalize(i, kLanes);
  if (i < args.length) normalize(i, static_cast<int>(args.length - i));
}

void rows(const NormRows& args) {
  // What is read three times stays in the L1 cache.
  constexpr int64_t kLongest = 1024;
  int64_t row = 0;
  if (args.length <= kLongest) {
    for (; row + 4 <= args.rows; row += 4) few_rows<4>(args, row);
  }
  for (; row < args.rows; ++row) few_rows<1>(args, row);
}

}  // namespace

extern const NormTable norm_table = {rows};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
