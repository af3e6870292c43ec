// The packed weights of the INT8 products, and the memory that they gather A into.
//
// Panels of 16 columns, for every group [ceil(n / 16)] of: [ceil(k / 64) * 16][16][4] int8, four k of a column side by
// side, zeros beyond k and n; then the sums of the 16 columns as int32. The form does not depend on the instruction set
// level: a panel's row is one AVX-512 register, sixteen of them are one tile of the matrix unit.
#pragma once
#include <stdint.h>

namespace hussar::cpu {

constexpr int64_t kInt8Chunk = 64;
constexpr int64_t kInt8Columns = 16;
constexpr int64_t int8_panel_count(int64_t n) { return (n + kInt8Columns - 1) / kInt8Columns; }
constexpr int64_t int8_depth(int64_t k) { return (k + kInt8Chunk - 1) / kInt8Chunk * kInt8Chunk; }
constexpr int64_t int8_panel_bytes(int64_t k) { return int8_depth(k) * kInt8Columns + kInt8Columns * 4; }
constexpr int64_t int8_weight_bytes(int64_t k, int64_t n) { return int8_panel_count(n) * int8_panel_bytes(k); }

// Packs b (k x n), element (row, column) at b[row * row_stride + column * column_stride].
void pack_int8_weights(const int8_t* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride, int8_t* out);
// The inverse.
void unpack_int8_weights(const int8_t* packed, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride,
                         int8_t* b);

// Depthwise weights [channels][rows][columns]: for every 16 channels [ceil(rows / 4)][columns][16][4] int8, four taps
// of a channel that lie above one another, zeros where there is none; then the sums of the 16 channels as int32.
constexpr int64_t kInt8DepthwiseTaps = 4;
constexpr int64_t int8_depthwise_block_bytes(int64_t rows, int64_t columns) {
  const int64_t groups = (rows + kInt8DepthwiseTaps - 1) / kInt8DepthwiseTaps;
  return groups * columns * kInt8Columns * kInt8DepthwiseTaps + kInt8Columns * 4;
}
constexpr int64_t int8_depthwise_bytes(int64_t channels, int64_t rows, int64_t columns) {
  return int8_panel_count(channels) * int8_depthwise_block_bytes(rows, columns);
}
void pack_int8_depthwise(const int8_t* weights, int64_t channels, int64_t rows, int64_t columns, int8_t* out);
void unpack_int8_depthwise(const int8_t* packed, int64_t channels, int64_t rows, int64_t columns, int8_t* weights);
// A pixel of zero points, with room for loads of 16 bytes.
constexpr int64_t int8_depthwise_scratch_bytes(int64_t channels) { return int8_depth(channels + 16); }
// Rows of a window: their addresses are kept on the stack.
constexpr int64_t kInt8DepthwiseRows = kInt8DepthwiseTaps * kInt8DepthwiseTaps * kInt8DepthwiseTaps;

// ---- the scratch memory, as for FP32 in tile_limits.h --------------------------------------------------------------

// No level has tiles of more rows.
constexpr int64_t kInt8RowsLimit = 32;
constexpr int64_t kInt8BlockBytes = 192 * 1024;
constexpr int64_t kInt8LongLine = 2048;
constexpr int64_t int8_line_elements(int64_t k) { return int8_depth(k) + kInt8Chunk; }
constexpr int64_t int8_line_count(int64_t k) { return k <= kInt8LongLine ? kInt8RowsLimit : 1; }
// Enough for this k and every smaller one.
constexpr int64_t all_int8_lines(int64_t k) {
  const int64_t several = kInt8RowsLimit * int8_line_elements(k < kInt8LongLine ? k : kInt8LongLine);
  return several > int8_line_elements(k) ? several : int8_line_elements(k);
}
// For elements of up to two bytes. The matrix unit reads whole tiles: up to 15 rows too far.
constexpr int64_t int8_scratch_bytes(int64_t k) {
  const int64_t tile = kInt8RowsLimit * int8_depth(k) * 2;
  return (tile > kInt8BlockBytes ? tile : kInt8BlockBytes) + all_int8_lines(k) * 2 + 16 * kInt8Chunk;
}

}  // namespace hussar::cpu
