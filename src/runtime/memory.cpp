// Greedy interval packing, in several orders.
#include "runtime/memory.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace hussar {
namespace {

bool overlap(const Block& a, const Block& b) { return a.first <= b.last && b.first <= a.last; }

// Places the blocks in `order` and returns the height; sets memory.offsets.
size_t place_in_order(const std::vector<Block>& blocks, PackMemory& memory) {
  std::vector<int32_t>& placed = memory.placed;
  std::vector<size_t>& offsets = memory.offsets;
  placed.clear();
  offsets.resize(blocks.size());
  size_t total = 0;
  // `placed` is kept in the order of offsets, so that one walk over it sees every gap.
  for (int32_t index : memory.order) {
    const Block& block = blocks[index];
    size_t size = aligned(block.bytes);
    size_t best = SIZE_MAX, best_gap = SIZE_MAX, end = 0;
    for (int32_t other_index : placed) {
      const Block& other = blocks[other_index];
      if (!overlap(block, other)) continue;
      size_t offset = offsets[other_index];
      if (offset > end && offset - end >= size && offset - end < best_gap) {
        best = end;
        best_gap = offset - end;
      }
      end = std::max(end, offset + aligned(other.bytes));
    }
    offsets[index] = best == SIZE_MAX ? end : best;
    total = std::max(total, offsets[index] + size);
    auto position = std::upper_bound(placed.begin(), placed.end(), offsets[index],
                                     [&](size_t offset, int32_t other) { return offset < offsets[other]; });
    placed.insert(position, index);
  }
  return total;
}

// A better order is likely to place those blocks earlier that ended at the top: they came too late for lower places.
void raise_highest(const std::vector<Block>& blocks, size_t total, PackMemory& memory) {
  std::stable_partition(memory.order.begin(), memory.order.end(),
                        [&](int32_t index) { return memory.offsets[index] + aligned(blocks[index].bytes) == total; });
}

}  // namespace

size_t pack_blocks(std::vector<Block>& blocks, PackMemory& memory) {
  constexpr size_t kComparisons = 1'000'000, kMostTries = 200;
  const size_t least = lower_bound(blocks);
  const size_t tries = std::clamp<size_t>(kComparisons / (blocks.size() * blocks.size() / 2 + 1), 2, kMostTries);
  std::vector<int32_t>& order = memory.order;
  order.resize(blocks.size());
  auto by_size = [&](int32_t a, int32_t b) {
    return blocks[a].bytes != blocks[b].bytes ? blocks[a].bytes > blocks[b].bytes : a < b;
  };
  auto by_lifetime = [&](int32_t a, int32_t b) {
    int32_t left = blocks[a].last - blocks[a].first, right = blocks[b].last - blocks[b].first;
    return left != right ? left > right : by_size(a, b);
  };
  size_t best = SIZE_MAX;
  for (size_t attempt = 0; attempt < tries && best > least; ++attempt) {
    if (attempt == 0 || attempt == tries / 2) {
      std::iota(order.begin(), order.end(), 0);
      attempt == 0 ? std::sort(order.begin(), order.end(), by_size)
                   : std::sort(order.begin(), order.end(), by_lifetime);
    }
    size_t total = place_in_order(blocks, memory);
    if (total < best) {
      best = total;
      memory.best_offsets = memory.offsets;
    }
    raise_highest(blocks, total, memory);
  }
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i].offset = memory.best_offsets[i];
  return best;
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
