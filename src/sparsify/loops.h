// The loops of greedy choices, which take their time, compiled for AVX2 too; both ways give the same bits.
#pragma once
#include <cstdint>

namespace hussar {

// y -= factor * x
struct SparsifyLoops {
  void (*subtract)(float factor, const float* x, int64_t count, float* y);
  void (*subtract_double)(double factor, const double* x, int64_t count, double* y);
  // The sum, over i, of the two largest of a[i], b[i], c[i] and d[i].
  double (*sum_best_two)(const float* a, const float* b, const float* c, const float* d, int64_t count);
};
extern const SparsifyLoops kSparsifyLoops;

}  // namespace hussar
