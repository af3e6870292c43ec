// The arena's packing: correct on any blocks, tight on blocks as networks have them.
#include "runtime/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace hussar {
namespace {

void expect_disjoint(const std::vector<Block>& blocks, size_t total) {
  for (size_t i = 0; i < blocks.size(); ++i) {
    const Block& a = blocks[i];
    ASSERT_EQ(a.offset % 64, 0U);
    ASSERT_LE(a.offset + a.bytes, total);
    for (size_t j = 0; j < i; ++j) {
      const Block& b = blocks[j];
      bool same_time = a.first <= b.last && b.first <= a.last;
      bool same_place = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
      ASSERT_FALSE(same_time && same_place) << "blocks " << j << " and " << i;
    }
  }
}

size_t pack(std::vector<Block>& blocks) {
  PackMemory memory;
  return pack_blocks(blocks, memory);
}

TEST(Memory, AnyBlocksAreDisjoint) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    std::vector<Block> blocks(random() % 120);
    for (Block& block : blocks) {
      block.first = static_cast<int32_t>(random() % 60);
      block.last = block.first + static_cast<int32_t>(random() % 20);
      block.bytes = random() % 5000;
    }
    size_t total = pack(blocks);
    expect_disjoint(blocks, total);
    EXPECT_GE(total, lower_bound(blocks));
  }
}

// A network: each step reads its predecessor, sometimes keeps a long residual, sizes shrink in stages.
std::vector<Block> network(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Block> blocks;
  int steps = 40 + static_cast<int>(random() % 200);
  size_t bytes = size_t{1} << (16 + random() % 6);
  for (int step = 0; step < steps; ++step) {
    if (random() % 12 == 0) bytes = std::max<size_t>(bytes / 2, 1024);
    int lifetime = random() % 5 == 0 ? 3 + static_cast<int>(random() % 4) : 1;
    size_t size = random() % 4 == 0 ? bytes * 4 : bytes;
    blocks.push_back({step, std::min(step + lifetime, steps), size, 0});
  }
  return blocks;
}

TEST(Memory, NetworksPackWithinFivePercent) {
  double sum = 0, worst = 0;
  constexpr int kNetworks = 100;
  for (uint32_t seed = 0; seed < kNetworks; ++seed) {
    auto blocks = network(seed);
    size_t total = pack(blocks);
    expect_disjoint(blocks, total);
    double ratio = static_cast<double>(total) / static_cast<double>(lower_bound(blocks));
    sum += ratio;
    worst = std::max(worst, ratio);
  }
  EXPECT_LE(sum / kNetworks, 1.01);
  EXPECT_LE(worst, 1.05);
}

// The first stage of a residual network whose steps have working memory: what lives for one step, and for three, must
// alternate between bottom and top.
TEST(Memory, WorkingMemoryPacksWithinFivePercent) {
  std::vector<Block> blocks = {{1, 2, 3211264}, {1, 1, 806144}, {2, 4, 802816}};
  for (int32_t step : {3, 6, 9}) {
    blocks.push_back({step, step + 3, 1605632});
    blocks.push_back({step + 1, step + 2, 401408});
    blocks.push_back({step + 2, step + 3, 401408});
    blocks.push_back({step, step, 791808});
    blocks.push_back({step + 1, step + 1, 795392});
    blocks.push_back({step + 2, step + 2, 2002048});
  }
  const size_t total = pack(blocks);
  expect_disjoint(blocks, total);
  EXPECT_LE(static_cast<double>(total), 1.05 * static_cast<double>(lower_bound(blocks)));
}

TEST(Memory, EmptyAndZeroBytes) {
  std::vector<Block> none;
  EXPECT_EQ(pack(none), 0U);
  EXPECT_EQ(lower_bound(none), 0U);
  std::vector<Block> zero = {{0, 1, 0, 0}, {0, 1, 64, 0}};
  EXPECT_EQ(pack(zero), 64U);
}

}  // namespace
}  // namespace hussar
