// The sizes that the tile kernels and the planning of their scratch memory agree on.
#pragma once
#include <stdint.h>

namespace hussar::cpu {

// A row tile of A is packed as [k / 16][rows][16]: one stream of cache lines in the order of use, and every element
// at a constant distance from the moving pointer.
constexpr int64_t kTileChunk = 16;
// No level has tiles of more rows.
constexpr int64_t kTileRowsLimit = 14;
// Row tiles are packed in blocks of about this size, which stay in the L2 cache while the panels of B pass by.
constexpr int64_t kBlockFloats = 96 * 1024;

}  // namespace hussar::cpu
