// Greedy interval packing, in several orders.
#include "runtime/memory.h"

#include <algorithm>
#include <map>
#include <random>

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

// Makes `order` the walk's, with one block moved to a place among the first; every other time one that ends at the top.
void move_one(const std::vector<Block>& blocks, size_t total, std::mt19937& random, PackMemory& memory) {
  constexpr size_t kFirst = 8;
  std::vector<int32_t>& order = memory.order;
  order = memory.walk;
  const size_t first = std::min(kFirst, order.size());
  size_t from = random() % first;
  if (random() % 2 == 0) {
    from = random() % order.size();
    auto is_highest = [&](int32_t index) { return memory.walk_offsets[index] + aligned(blocks[index].bytes) == total; };
    for (size_t i = 0; i < order.size() && !is_highest(order[from]); ++i) from = (from + 1) % order.size();
  }
  const int32_t moved = order[from];
  order.erase(order.begin() + static_cast<ptrdiff_t>(from));
  order.insert(order.begin() + static_cast<ptrdiff_t>(random() % first), moved);
}

}  // namespace

size_t pack_blocks(std::vector<Block>& blocks, PackMemory& memory) {
  constexpr size_t kComparisons = 2'000'000, kMostTries = 400;
  std::vector<int32_t>&sized = memory.sized, &order = memory.order;
  sized.clear();
  for (size_t i = 0; i < blocks.size(); ++i) {
    blocks[i].offset = 0;
    if (blocks[i].bytes > 0) sized.push_back(static_cast<int32_t>(i));
  }
  if (sized.empty()) return 0;
  const size_t least = lower_bound(blocks);
  const size_t tries = std::clamp<size_t>(kComparisons / (sized.size() * sized.size() / 2 + 1), 2, kMostTries);
  auto by_size = [&](int32_t a, int32_t b) {
    return blocks[a].bytes != blocks[b].bytes ? blocks[a].bytes > blocks[b].bytes : a < b;
  };
  auto by_lifetime = [&](int32_t a, int32_t b) {
    int32_t left = blocks[a].last - blocks[a].first, right = blocks[b].last - blocks[b].first;
    return left != right ? left > right : by_size(a, b);
  };
  std::mt19937 random;  // of one seed: the same blocks get the same places
  size_t best = SIZE_MAX, walk_total = SIZE_MAX;
  for (size_t attempt = 0; attempt < tries && best > least; ++attempt) {
    const bool is_walk = attempt >= tries / 4;
    if (attempt == 0 || attempt == tries / 8) {
      order = sized;
      attempt == 0 ? std::sort(order.begin(), order.end(), by_size)
                   : std::sort(order.begin(), order.end(), by_lifetime);
    } else if (is_walk) {
      move_one(blocks, walk_total, random, memory);
    }
    const size_t total = place_in_order(blocks, memory);
    // The walk begins at the best order so far. A slope that it may climb finds the way out of most dead ends.
    if (total <= (is_walk ? std::max(walk_total, best + best / 2) : best)) {
      walk_total = total;
      memory.walk = order;
      memory.walk_offsets = memory.offsets;
    }
    if (total < best) {
      best = total;
      memory.best_offsets = memory.offsets;
    }
    if (!is_walk) raise_highest(blocks, total, memory);
  }
  for (int32_t index : sized) blocks[index].offset = memory.best_offsets[index];
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
