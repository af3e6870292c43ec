// Greedy-by-size interval packing.
#include "runtime/memory.h"

#include <algorithm>
#include <map>

namespace hussar {
namespace {

constexpr size_t kAlignment = 64;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool overlap(const Block& a, const Block& b) { return a.first <= b.last && b.first <= a.last; }

}  // namespace

size_t pack_blocks(std::vector<Block>& blocks, std::vector<int32_t>& order, std::vector<int32_t>& placed) {
  order.clear();
  placed.clear();
  for (size_t i = 0; i < blocks.size(); ++i) order.push_back(static_cast<int32_t>(i));
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return blocks[a].bytes != blocks[b].bytes ? blocks[a].bytes > blocks[b].bytes : a < b;
  });
  size_t total = 0;
  // `placed` is kept in the order of offsets, so that one walk over it sees every gap.
  for (int32_t index : order) {
    Block& block = blocks[index];
    size_t size = aligned(block.bytes);
    size_t best = SIZE_MAX, best_gap = SIZE_MAX, end = 0;
    for (int32_t other_index : placed) {
      const Block& other = blocks[other_index];
      if (!overlap(block, other)) continue;
      if (other.offset > end && other.offset - end >= size && other.offset - end < best_gap) {
        best = end;
        best_gap = other.offset - end;
      }
      end = std::max(end, other.offset + aligned(other.bytes));
    }
    block.offset = best == SIZE_MAX ? end : best;
    total = std::max(total, block.offset + size);
    auto position = std::upper_bound(placed.begin(), placed.end(), block.offset,
                                     [&](size_t offset, int32_t other) { return offset < blocks[other].offset; });
    placed.insert(position, index);
  }
  return total;
}

size_t lower_bound(const std::vector<Block>& blocks) {
  std::map<int32_t, int64_t> change;
  for (const Block& block : blocks) {
    change[block.first] += static_cast<int64_t>(aligned(block.bytes));
    change[block.last + 1] -= static_cast<int64_t>(aligned(block.bytes));
  }
  int64_t alive = 0, most = 0;
  for (const auto& [step, delta] : change) most = std::max(most, alive += delta);
  return static_cast<size_t>(most);
}

}  // namespace hussar
