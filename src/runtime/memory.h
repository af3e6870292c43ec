// The arena: where values lie, from how large they are and how long they live.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace hussar {

// A block that must exist from step `first` to step `last`, both included.
struct Block {
  int32_t first = 0, last = 0;
  size_t bytes = 0;
  size_t offset = 0;  // set by pack_blocks; 64-byte aligned
};

// Gives blocks that live at the same time disjoint places and returns the bytes that all need together. Best fit in
// order of falling size (greedy by size: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
// Inference", 2020). `order` and `placed` are working memory, reused between calls.
size_t pack_blocks(std::vector<Block>& blocks, std::vector<int32_t>& order, std::vector<int32_t>& placed);

// The largest sum of bytes alive at one step: no packing can need less.
size_t lower_bound(const std::vector<Block>& blocks);

}  // namespace hussar
