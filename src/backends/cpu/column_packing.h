// The packed forms of weights that are 2:4 with a mask of its own in every column (tensor/shared_mask.h), for products
// of few rows, which take as long as their weights take to come from memory.
//
// Panels of 16 columns, each a run of chunks of 32 k: first a word of codes for every column, then the kept weights.
// The last chunk ends with k. A code is the place (0 to 3) of a kept weight among its four; FP32 needs 17 bits per
// weight of the dense matrix, INT8 5. The forms do not depend on the instruction set level. k is a multiple of 4.
#pragma once
#include <stdint.h>

namespace hussar::cpu {

constexpr int64_t kColumnChunk = 32;    // of k
constexpr int64_t kColumnColumns = 16;  // of a panel
constexpr int64_t column_panels(int64_t n) { return (n + kColumnColumns - 1) / kColumnColumns; }
constexpr int64_t column_chunks(int64_t k) { return (k + kColumnChunk - 1) / kColumnChunk; }
constexpr int64_t kColumnCodeBytes = kColumnColumns * 4;  // of a chunk

// A panel is one stream of memory, which alone is not fetched fast enough: kernels that read one panel at a time fetch
// what lies so many bytes ahead, also beyond the panel.
constexpr int64_t kColumnAhead = 2560;

// FP32: rows of 16 kept weights, two for every four k, in ascending order. Code i of a chunk: bits 2 i and 2 i + 1.
constexpr int64_t float_column_panel(int64_t k) { return (column_chunks(k) + k / 2) * kColumnColumns; }
constexpr int64_t float_column_floats(int64_t k, int64_t n) { return column_panels(n) * float_column_panel(k); }

// INT8: for every eight k (the last may be four and zeros) 16 times four kept weights, in ascending order; behind the
// panel the sums of its columns as int32. Code of byte i of the four in step s of a chunk: bits 2 s and 2 s + 1 of byte
// i of the word.
constexpr int64_t kInt8ColumnStep = 8;  // of k
constexpr int64_t int8_column_steps(int64_t k) { return (k + kInt8ColumnStep - 1) / kInt8ColumnStep; }
constexpr int64_t int8_column_panel(int64_t k) {
  return (column_chunks(k) + int8_column_steps(k) + 1) * kColumnColumns * 4;
}
constexpr int64_t int8_column_bytes(int64_t k, int64_t n) { return column_panels(n) * int8_column_panel(k); }

}  // namespace hussar::cpu
