// The parts of attention that are not matrix products, and the products of a single query with keys and values.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

// A rectangle of scores that becomes exp(scale * score + mask - largest of the row).
struct AttentionScores {
  float* scores;  // [rows][columns], `pitch` apart
  int64_t pitch, rows, columns;
  // Row i uses the columns below first_limit + i (clipped to [0, columns]); the others become 0.
  int64_t first_limit;
  float scale;
  const float* mask;                            // null: none
  int64_t mask_row_stride, mask_column_stride;  // each 0 for a broadcast; the column's is 0 or 1
  float* inverse_sums;                          // [rows]: 1 / the sum of the row
};

struct AttentionTable {
  void (*exponentials)(const AttentionScores& args);
  // y[row][c] *= factors[row]
  void (*scale_rows)(float* y, int64_t pitch, int64_t rows, int64_t columns, const float* factors);
  // y[j] = matrix row j . x, for j < rows; the rows are contiguous and `pitch` apart.
  void (*dot_rows)(const float* matrix, int64_t pitch, const float* x, float* y, int64_t rows, int64_t length);
  // y[c] = factor * sum of weights[j] * matrix[j][c] over j < rows.
  void (*sum_rows)(const float* matrix, int64_t pitch, const float* weights, float factor, float* y, int64_t rows,
                   int64_t columns);
};

HUSSAR_DECLARE_PER_ISA(AttentionTable, attention_table)

}  // namespace hussar::cpu
