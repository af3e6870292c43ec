// Sums go in blocks whose totals are added up, so that the rounding error of long reductions stays small.
#include "backends/cpu/kernels/reduce/reduce.h"

#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

constexpr int64_t kBlock = 256;

template <ReduceKind kKind>
struct Reduction {
  static constexpr bool kIsSum =
      kKind == ReduceKind::kSum || kKind == ReduceKind::kSumAbs || kKind == ReduceKind::kSumSquares;
  static HUSSAR_INLINE Vec neutral() {
    return set(kIsSum ? 0.0f : kKind == ReduceKind::kProduct ? 1.0f : kKind == ReduceKind::kMax ? -INFINITY : INFINITY);
  }
  // Joins two partial results.
  static HUSSAR_INLINE Vec join(Vec a, Vec b) {
    if constexpr (kIsSum) return a + b;
    if constexpr (kKind == ReduceKind::kProduct) return a * b;
    if constexpr (kKind == ReduceKind::kMax) return max(a, b);
    return min(a, b);
  }
  // Takes in one more element.
  static HUSSAR_INLINE Vec add(Vec total, Vec x) {
    if constexpr (kKind == ReduceKind::kSumAbs) return total + abs(x);
    if constexpr (kKind == ReduceKind::kSumSquares) return fma(x, x, total);
    return join(x, total);
  }
  static HUSSAR_INLINE float join_lanes(Vec a) {
    if constexpr (kIsSum) return sum_lanes(a);
    float lanes[kLanes];
    store(lanes, a);
    float total = lanes[0];
    for (int i = 1; i < kLanes; ++i) {
      const float x = lanes[i];
      if constexpr (kKind == ReduceKind::kProduct) {
        total *= x;
      } else if constexpr (kKind == ReduceKind::kMax) {
        total = x > total || x != x ? x : total;
      } else {
        total = x < total || x != x ? x : total;
      }
    }
    return total;
  }
};

int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

template <ReduceKind kKind>
float row(const float* x, int64_t length) {
  using R = Reduction<kKind>;
  Vec total = R::neutral();
  for (int64_t begin = 0; begin < length; begin += 4 * kBlock * kLanes) {
    const int64_t end = at_most(length, begin + 4 * kBlock * kLanes);
    Vec parts[4] = {R::neutral(), R::neutral(), R::neutral(), R::neutral()};
    int64_t i = begin;
    for (; i + 4 * kLanes <= end; i += 4 * kLanes) {
      for (int k = 0; k < 4; ++k) parts[k] = R::add(parts[k], load(x + i + k * kLanes));
    }
    for (; i + kLanes <= end; i += kLanes) parts[0] = R::add(parts[0], load(x + i));
    if (i < end) {
      // Lanes beyond the end keep what they had.
      float rest[kLanes];
      store(rest, parts[1]);
      const int tail = static_cast<int>(end - i);
      store_n(rest, R::add(parts[1], load_n(x + i, tail)), tail);
      parts[1] = load(rest);
    }
    total = R::join(R::join(R::join(parts[0], parts[1]), R::join(parts[2], parts[3])), total);
  }
  return R::join_lanes(total);
}

template <ReduceKind kKind, int kVectors>
HUSSAR_INLINE void column_block(const float* x, int64_t length, int64_t stride, float* y, int last) {
  using R = Reduction<kKind>;
  Vec totals[kVectors], parts[kVectors];
  for (int v = 0; v < kVectors; ++v) totals[v] = R::neutral();
  for (int64_t begin = 0; begin < length; begin += kBlock) {
    const int64_t end = at_most(length, begin + kBlock);
    for (int v = 0; v < kVectors; ++v) parts[v] = R::neutral();
    for (int64_t i = begin; i < end; ++i) {
      const float* from = x + i * stride;
      for (int v = 0; v < kVectors; ++v) {
        parts[v] = R::add(parts[v], v + 1 < kVectors ? load(from + v * kLanes) : load_up_to(from + v * kLanes, last));
      }
    }
    for (int v = 0; v < kVectors; ++v) totals[v] = R::join(parts[v], totals[v]);
  }
  for (int v = 0; v + 1 < kVectors; ++v) store(y + v * kLanes, totals[v]);
  store_up_to(y + (kVectors - 1) * kLanes, totals[kVectors - 1], last);
}

template <ReduceKind kKind>
void columns(const float* x, int64_t length, int64_t stride, float* y, int64_t count) {
  // The wider the stripe, the fewer of the lines that the memory system brings ahead are brought in vain.
  int64_t c = 0;
  for (; c + 8 * kLanes <= count; c += 8 * kLanes) column_block<kKind, 8>(x + c, length, stride, y + c, kLanes);
  for (; c + 4 * kLanes <= count; c += 4 * kLanes) column_block<kKind, 4>(x + c, length, stride, y + c, kLanes);
  for (; c < count; c += kLanes) {
    column_block<kKind, 1>(x + c, length, stride, y + c, static_cast<int>(at_most(kLanes, count - c)));
  }
}

template <ReduceKind kKind>
void combine(const float* x, float* y, int64_t count) {
  for (int64_t c = 0; c < count; c += kLanes) {
    const int n = static_cast<int>(at_most(kLanes, count - c));
    store_up_to(y + c, Reduction<kKind>::join(load_up_to(x + c, n), load_up_to(y + c, n)), n);
  }
}

void finish(float* y, int64_t count, float scale, bool root) {
  const Vec factor = set(scale);
  for (int64_t c = 0; c < count; c += kLanes) {
    const int n = static_cast<int>(at_most(kLanes, count - c));
    const Vec value = load_up_to(y + c, n) * factor;
    store_up_to(y + c, root ? sqrt(value) : value, n);
  }
}

}  // namespace

#define HUSSAR_ALL_KINDS(f)                                                                           \
  {                                                                                                   \
    f<ReduceKind::kSum>, f<ReduceKind::kSumAbs>, f<ReduceKind::kSumSquares>, f<ReduceKind::kProduct>, \
        f<ReduceKind::kMax>, f<ReduceKind::kMin>                                                      \
  }
extern const ReduceTable reduce_table = {HUSSAR_ALL_KINDS(row), HUSSAR_ALL_KINDS(columns), HUSSAR_ALL_KINDS(combine),
                                         finish};
#undef HUSSAR_ALL_KINDS

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
