// The packed forms of weights whose masks are shared by blocks of columns (tensor/shared_mask.h).
//
// Only kept weights are stored. What they are multiplied by is told by an index, once for every block: that is why
// blocks are as wide as the kernels' tiles. The forms do not depend on the instruction set level. k is a multiple of 4.
#pragma once
#include <stdint.h>

#include "backends/cpu/half_packing.h"
#include "backends/cpu/int8_packing.h"
#include "backends/cpu/panels.h"

namespace hussar::cpu {

// The attribute of a node with packed sparse weights: panels of a block.
constexpr const char* kSharedPanels = "hussar_shared_panels";
constexpr bool is_shared_panels(int64_t panels) { return panels == 1 || panels == 2 || panels == 4 || panels == 8; }
constexpr int64_t kSparseGroup = 4;
constexpr int64_t kSparseColumns = 16;  // of a panel
constexpr int64_t sparse_panels(int64_t n) { return (n + kSparseColumns - 1) / kSparseColumns; }
constexpr int64_t sparse_blocks(int64_t n, int64_t panels) { return (sparse_panels(n) + panels - 1) / panels; }

// ---- INT8 ----------------------------------------------------------------------------------------------------------

// A row of A comes in chunks of 64 bytes. Two chunks (128 of k) become one of kept bytes: bytes 16 i to 16 i + 7 are
// those of the first chunk's bytes 16 i to 16 i + 15, the eight behind them those of the second chunk's. A last chunk
// without a partner keeps its order. So one shuffle inside of 16 bytes does it, on every level.
constexpr int64_t int8_sparse_tail(int64_t k) { return k % 128 > 64 ? 0 : k % 128; }  // k of the lonely chunk
constexpr int64_t int8_sparse_depth(int64_t k) {
  const int64_t tail = int8_sparse_tail(k);
  return (k - tail + 127) / 128 * 64 + tail / 2;
}
// The index: for every 64 kept bytes, where in their 16 bytes they come from; first the pairs, then the lonely chunk.
constexpr int64_t int8_sparse_index_bytes(int64_t k) { return (k + 127) / 128 * 64; }

// For every block its index, then its panels as those of a dense product (int8_packing.h) of the kept k.
constexpr int64_t int8_sparse_block_bytes(int64_t k, int64_t panels) {
  return int8_sparse_index_bytes(k) + panels * int8_panel_bytes(int8_sparse_depth(k));
}
constexpr int64_t int8_sparse_bytes(int64_t k, int64_t n, int64_t panels) {
  return sparse_blocks(n, panels) * int8_sparse_index_bytes(k) +
         sparse_panels(n) * int8_panel_bytes(int8_sparse_depth(k));
}
// Scratch of one share, with room for the kept bytes of two tiles.
constexpr int64_t int8_sparse_scratch_bytes(int64_t k) {
  return int8_scratch_bytes(k) + 2 * kInt8RowsLimit * int8_depth(int8_sparse_depth(k)) * 2;
}

// ---- FP32 ----------------------------------------------------------------------------------------------------------

// For every block its index, one byte per kept k: which of its 16 of k it is, eight for every 16; then its panels as
// those of a dense product (panels.h) of the kept k, in ascending order.
constexpr int64_t float_sparse_depth(int64_t k) { return k / 2; }
constexpr int64_t float_sparse_index_bytes(int64_t k) { return (float_sparse_depth(k) + 63) / 64 * 64; }
constexpr int64_t float_sparse_block_floats(int64_t k, int64_t panels) {
  return float_sparse_index_bytes(k) / 4 + panels * panel_floats(float_sparse_depth(k), kSparseColumns);
}
constexpr int64_t float_sparse_floats(int64_t k, int64_t n, int64_t panels) {
  return sparse_blocks(n, panels) * float_sparse_index_bytes(k) / 4 + panel_floats(float_sparse_depth(k), n);
}

// ---- FP16 ----------------------------------------------------------------------------------------------------------

// Rows of A as for INT8, of 2 k bytes: a kept element is two kept bytes, a chunk has 32 of k. So the two that are kept
// of four lie side by side, as the pairs of a dense product do. For every block its index, of bytes, then its panels of
// 32 columns as those of a dense product (half_packing.h) of the kept k. Blocks have two panels of 16 columns or more.
// What lies behind k in A may be no number: bytes of the index that stand for no k are kNoByte, which a shuffle turns
// to 0.
constexpr uint8_t kNoByte = 0x80;
constexpr int64_t half_sparse_depth(int64_t k) { return int8_sparse_depth(2 * k) / 2; }
constexpr int64_t half_sparse_index_elements(int64_t k) { return int8_sparse_index_bytes(2 * k) / 2; }
constexpr int64_t half_sparse_block_elements(int64_t k, int64_t panels) {
  return half_sparse_index_elements(k) + panels / 2 * half_panel_elements(half_sparse_depth(k));
}
constexpr int64_t half_sparse_elements(int64_t k, int64_t n, int64_t panels) {
  return sparse_blocks(n, panels) * half_sparse_index_elements(k) + half_weight_elements(half_sparse_depth(k), n);
}
// Of one tile, for this k and every smaller one.
constexpr int64_t half_kept_elements(int64_t k) {
  return kTileRowsLimit * ((half_sparse_depth(k) + kHalfChunk - 1) / kHalfChunk * kHalfChunk);
}
constexpr int64_t half_sparse_scratch_bytes(int64_t k) { return half_scratch_bytes(k) + 2 * half_kept_elements(k); }

}  // namespace hussar::cpu
