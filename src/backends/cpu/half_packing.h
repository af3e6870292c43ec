// The packed weights of the FP16 kernels, and the memory that they gather A into.
//
// Panels of 32 columns, [ceil(n / 32)][ceil(k / 2)][2][16][2]: for every pair of k the pairs of the panel's even
// columns, then those of its odd ones. Columns beyond n and the partner of a last odd k are zeros.
#pragma once
#include <stdint.h>

#include "backends/cpu/kernels/tile/tile_limits.h"

namespace hussar::cpu {

constexpr int64_t kHalfPanelColumns = 32;
constexpr int64_t half_panel_count(int64_t n) { return (n + kHalfPanelColumns - 1) / kHalfPanelColumns; }
constexpr int64_t half_panel_elements(int64_t k) { return (k + 1) / 2 * 2 * kHalfPanelColumns; }
constexpr int64_t half_weight_elements(int64_t k, int64_t n) { return half_panel_count(n) * half_panel_elements(k); }

// Packs b (k x n), element (row, column) at b[row * row_stride + column * column_stride].
void pack_half_weights(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride, uint16_t* out);
// The inverse, to b[k][n].
void unpack_half_weights(const uint16_t* packed, int64_t k, int64_t n, float* b);

// ---- the scratch memory, as for FP32 in tile_limits.h --------------------------------------------------------------

constexpr int64_t kHalfChunk = 32;
// Pairs of k that are summed in FP16 before they go to FP32 sums.
constexpr int64_t kHalfPairsAtOnce = 64;
constexpr int64_t kHalfBlock = 192 * 1024;
constexpr int64_t half_line_elements(int64_t k) { return (k + kHalfChunk - 1) / kHalfChunk * kHalfChunk + kHalfChunk; }
constexpr int64_t half_line_count(int64_t k) { return k <= kLongLine ? kTileRowsLimit : 1; }
// Enough for this k and every smaller one; a multiple of 64 bytes.
constexpr int64_t all_half_lines(int64_t k) {
  const int64_t several = kTileRowsLimit * half_line_elements(k < kLongLine ? k : kLongLine);
  return several > half_line_elements(k) ? several : half_line_elements(k);
}
constexpr int64_t half_scratch_bytes(int64_t k) {
  const int64_t tile = kTileRowsLimit * ((k + kHalfChunk - 1) / kHalfChunk * kHalfChunk);
  return ((tile > kHalfBlock ? tile : kHalfBlock) + all_half_lines(k)) * 2;
}

}  // namespace hussar::cpu
