// Columns of rows as bytes around 128, by a scale per column.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

// `columns` columns of rows that are `pitch` floats apart.
struct ColumnsOfRows {
  const float* x;
  int64_t rows, pitch, columns;
};

struct HeadBytesTable {
  // most[c] = the largest magnitude in column c; NaN does not count.
  void (*largest)(const ColumnsOfRows& from, float* most);
  // y[row * columns + c] = saturate(round(x / scales[c]) + 128); reciprocals: of the scales, 0 with a scale of 1 for
  // 128.
  void (*quantize)(const ColumnsOfRows& from, const float* scales, const float* reciprocals, uint8_t* y);
};
HUSSAR_DECLARE_PER_ISA(HeadBytesTable, head_bytes_table)

}  // namespace hussar::cpu
