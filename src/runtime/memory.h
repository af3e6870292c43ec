// The arena: where values lie, from how large they are and how long they live.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace hussar {

// Where the next block may begin.
inline size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

// A block that must exist from step `first` to step `last`, both included.
struct Block {
  int32_t first = 0, last = 0;
  size_t bytes = 0;
  size_t offset = 0;  // set by pack_blocks; 64-byte aligned
};

// Working memory of pack_blocks, reused between calls.
struct PackMemory {
  std::vector<int32_t> sized, order, walk, placed;
  std::vector<size_t> offsets, walk_offsets, best_offsets;
};

// Gives blocks that live at the same time disjoint places and returns the bytes that all need together.
//
// Greedy by size, each block into the tightest gap (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
// Inference", 2020). When that misses the lower bound, other orders are tried: by lifetime, and then the order in which
// the blocks that ended highest come earlier; last a random walk from the best order. The best packing is kept.
// Bounded by about two million comparisons.
size_t pack_blocks(std::vector<Block>& blocks, PackMemory& memory);

// The largest sum of bytes alive at one step: no packing can need less.
size_t lower_bound(const std::vector<Block>& blocks);

}  // namespace hussar
