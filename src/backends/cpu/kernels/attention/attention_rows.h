// The softmax of attention: rules and exponentials of one row of scores. Internal to kernels/attention, for
// *.simd.cpp files only.
#pragma once
#include "backends/cpu/kernels/attention/attention.h"
#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// 2^y for y <= 0; below 2^-125 it is 0, so that no result is denormal. NaN stays.
HUSSAR_INLINE Vec exp2_nonpositive(Vec y) {
  const Mask vanishes = y < set(-125.0f);
  const Vec n = round(y);
  const Vec r = y - n;
  Vec p = set(0.001327635804f);  // 2^r on [-0.5, 0.5]: 7.5e-8
  p = fma(p, r, set(0.009675655557f));
  p = fma(p, r, set(0.05550714482f));
  p = fma(p, r, set(0.2402211762f));
  p = fma(p, r, set(0.6931469658f));
  p = fma(p, r, set(1.000000072f));
#if defined(__AVX512F__)
  p = {_mm512_scalef_ps(p.v, n.v)};
#else
  p = p * power_of_two(to_int(n));
#endif
  return select(vanishes, set(0.0f), p);
}

// Hides the scores from `count` to the next multiple of 16, applies mask and softcap, and gives the largest score. NaN
// counts as small: it reaches the sum of the exponentials instead.
HUSSAR_INLINE float prepare_row(const ScoreRules& rules, const float* mask, float* x, int64_t count) {
  const int64_t end = round_to_panel(count);
  for (int64_t i = count; i < end; ++i) x[i] = -INFINITY;
  Vec largest = set(-INFINITY);
  if (rules.softcap > 0) {
    const Vec cap = set(rules.softcap), inverse = set(1.0f / rules.softcap);
    for (int64_t i = 0; i < count; i += kLanes) {
      const int n = static_cast<int>(count - i < kLanes ? count - i : kLanes);
      store_up_to(x + i, cap * tanh(load(x + i) * inverse), n);
    }
  }
  if (mask == nullptr) {
    Vec other = largest;
    int64_t i = 0;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
      largest = max_second(load(x + i), largest);
      other = max_second(load(x + i + kLanes), other);
    }
    for (; i < end; i += kLanes) largest = max_second(load(x + i), largest);
    return max_lanes(max_second(other, largest));
  }
  const Vec one_mask = set(*mask);
  for (int64_t i = 0; i < end; i += kLanes) {
    Vec added = one_mask;
    if (rules.mask_column_stride != 0) {
      const int64_t left = count - i;
      added = left >= kLanes ? load(mask + i) : load_n(mask + i, left < 0 ? 0 : static_cast<int>(left));
    }
    const Vec value = load(x + i) + added;
    store(x + i, value);
    largest = max_second(value, largest);
  }
  return max_lanes(largest);
}

// The exponentials of x - shift over `end` columns (a multiple of 16), 16 columns to each chunk of y; gives their sum.
HUSSAR_INLINE float exponentials_of_row(const float* x, float shift, int64_t end, float* y, int64_t chunk_stride) {
  const Vec less = set(shift), log2e = set(kLog2E);
  Vec sums = set(0.0f);
  for (int64_t i = 0; i < end; i += 16, y += chunk_stride) {
    for (int k = 0; k < 16; k += kLanes) {
      const Vec e = exp2_nonpositive((load(x + i + k) - less) * log2e);
      store(y + k, e);
      sums = sums + e;
    }
  }
  return sum_lanes(sums);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
