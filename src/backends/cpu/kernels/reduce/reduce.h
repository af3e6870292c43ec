// Sums, products and extremes of floats: of contiguous rows, and down the columns of a matrix.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

enum class ReduceKind : int32_t { kSum, kSumAbs, kSumSquares, kProduct, kMax, kMin };
constexpr int kReduceKinds = 6;

// A NaN makes the result NaN, for the extremes too.
struct ReduceTable {
  // The reduction of x[0] .. x[length - 1]; 0 elements give the neutral element.
  float (*row[kReduceKinds])(const float* x, int64_t length);
  // y[c] = the reduction of x[i * stride + c] over i < length, for c < columns.
  void (*columns[kReduceKinds])(const float* x, int64_t length, int64_t stride, float* y, int64_t columns);
  // y[c] = the combination of y[c] and x[c].
  void (*combine[kReduceKinds])(const float* x, float* y, int64_t columns);
  // y[c] = y[c] * scale, and its square root when asked for.
  void (*finish)(float* y, int64_t count, float scale, bool root);
};

HUSSAR_DECLARE_PER_ISA(ReduceTable, reduce_table)

}  // namespace hussar::cpu
