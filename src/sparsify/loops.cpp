#include "sparsify/loops.h"

#include <algorithm>

namespace hussar {
namespace {

#define HUSSAR_INLINE __attribute__((always_inline)) inline

template <class T>
HUSSAR_INLINE void subtract(T factor, const T* __restrict x, int64_t count, T* __restrict y) {
  for (int64_t i = 0; i < count; ++i) y[i] -= factor * x[i];
}

HUSSAR_INLINE float greater(float a, float b) { return a > b ? a : b; }
HUSSAR_INLINE float less(float a, float b) { return a < b ? a : b; }

HUSSAR_INLINE double sum_best_two(const float* a, const float* b, const float* c, const float* d, int64_t count) {
  constexpr int64_t kLanes = 16, kChunk = 1024;
  double sum = 0;
  for (int64_t first = 0; first < count; first += kChunk) {
    const int64_t end = std::min(first + kChunk, count);
    float lanes[kLanes] = {};
    int64_t at = first;
    for (; at + kLanes <= end; at += kLanes) {
      for (int64_t k = 0; k < kLanes; ++k) {
        const float high = greater(a[at + k], b[at + k]), low = less(a[at + k], b[at + k]);
        const float other_high = greater(c[at + k], d[at + k]), other_low = less(c[at + k], d[at + k]);
        lanes[k] += greater(high, other_high) + greater(less(high, other_high), greater(low, other_low));
      }
    }
    for (float lane : lanes) sum += lane;
    for (; at < end; ++at) {
      const float high = greater(a[at], b[at]), low = less(a[at], b[at]);
      const float other_high = greater(c[at], d[at]), other_low = less(c[at], d[at]);
      sum += greater(high, other_high) + greater(less(high, other_high), greater(low, other_low));
    }
  }
  return sum;
}

void subtract_anywhere(float factor, const float* x, int64_t count, float* y) { subtract(factor, x, count, y); }
void subtract_double_anywhere(double factor, const double* x, int64_t count, double* y) {
  subtract(factor, x, count, y);
}
double sum_best_two_anywhere(const float* a, const float* b, const float* c, const float* d, int64_t count) {
  return sum_best_two(a, b, c, d, count);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) void subtract_avx2(float factor, const float* x, int64_t count, float* y) {
  subtract(factor, x, count, y);
}
__attribute__((target("avx2"))) void subtract_double_avx2(double factor, const double* x, int64_t count, double* y) {
  subtract(factor, x, count, y);
}
__attribute__((target("avx2"))) double sum_best_two_avx2(const float* a, const float* b, const float* c, const float* d,
                                                         int64_t count) {
  return sum_best_two(a, b, c, d, count);
}
#endif

SparsifyLoops loops() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") != 0) return {subtract_avx2, subtract_double_avx2, sum_best_two_avx2};
#endif
  return {subtract_anywhere, subtract_double_anywhere, sum_best_two_anywhere};
}

}  // namespace

const SparsifyLoops kSparsifyLoops = loops();

}  // namespace hussar
