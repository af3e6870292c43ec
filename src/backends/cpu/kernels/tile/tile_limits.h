// The sizes that the tile kernels and the planning of their scratch memory agree on.
#pragma once
#include <stdint.h>

namespace hussar::cpu {

// A row tile of A is packed as [k / 16][rows][16]: one stream of cache lines in the order of use, and every element
// at a constant distance from the moving pointer.
constexpr int64_t kTileChunk = 16;
// No level has tiles of more rows.
constexpr int64_t kTileRowsLimit = 14;
// Products of no more rows read a B that is not packed where it lies.
constexpr int64_t kFewRows = 4;
// Row tiles are packed in blocks of about this size, which stay in the L2 cache while the panels of B pass by.
constexpr int64_t kBlockFloats = 96 * 1024;

// Rows of A that are not made of whole chunks are first gathered as lines of floats, with room to write one vector too
// far: all lines of a tile before the first is read, because a load soon after smaller stores to its place is slow;
// but one at a time when they are long and would leave the L1 cache.
constexpr int64_t kLinePadding = 16;
constexpr int64_t kLongLine = 512;
constexpr int64_t line_floats(int64_t k) { return (k + kTileChunk - 1) / kTileChunk * kTileChunk + kLinePadding; }
constexpr int64_t line_count(int64_t k) { return k <= kLongLine ? kTileRowsLimit : 1; }
// Enough for this k and every smaller one.
constexpr int64_t all_lines_floats(int64_t k) {
  const int64_t several = kTileRowsLimit * line_floats(k < kLongLine ? k : kLongLine);
  return several > line_floats(k) ? several : line_floats(k);
}

}  // namespace hussar::cpu
