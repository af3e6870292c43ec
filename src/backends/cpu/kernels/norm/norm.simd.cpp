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

// The mean is taken off first: with a tiny variance x * factor and mean * factor would cancel.
HUSSAR_INLINE Vec normalized(const NormRows& args, Vec x, int64_t i, int count, Vec mean, Vec factor) {
  Vec y = (x - mean) * factor;
  if (args.scale != nullptr) y = y * load_up_to(args.scale + i, count);
  if (args.bias != nullptr) y = y + load_up_to(args.bias + i, count);
  return y;
}

void rows(const NormRows& args) {
  const float count = static_cast<float>(args.length);
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* x = args.input + row * args.input_pitch;
    float* y = args.output + row * args.output_pitch;
    const float mean = args.center ? sum_of<false>(x, args.length, 0.0f) / count : 0.0f;
    const float variance = sum_of<true>(x, args.length, mean) / count;
    const float inverse = 1.0f / sqrtf(variance + args.epsilon);
    if (args.mean != nullptr) args.mean[row] = mean;
    if (args.inverse_deviation != nullptr) args.inverse_deviation[row] = inverse;
    const Vec factor = set(inverse), middle = set(mean);
    int64_t i = 0;
    for (; i + kLanes <= args.length; i += kLanes) {
      store(y + i, normalized(args, load(x + i), i, kLanes, middle, factor));
    }
    const int tail = static_cast<int>(args.length - i);
    if (tail > 0) store_n(y + i, normalized(args, load_n(x + i, tail), i, tail, middle, factor), tail);
  }
}

}  // namespace

extern const NormTable norm_table = {rows};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
