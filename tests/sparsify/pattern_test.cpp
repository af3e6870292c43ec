// Patterns: their spelling, their masks, and what is found in weights that come from elsewhere.
#include "sparsify/pattern.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace hussar {
namespace {

std::vector<float> random_scores(int64_t count, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> scores;
  for (int64_t i = 0; i < count; ++i) scores.push_back(std::abs(normal(random)) + 0.01F);
  return scores;
}

TEST(SparsityPattern, IsParsedAndSpelled) {
  EXPECT_EQ(parse_pattern("2:4")->shared_rows, 1);
  EXPECT_EQ(parse_pattern("2:4x64")->shared_rows, 64);
  EXPECT_EQ(spell(*parse_pattern("2:4x1")), "2:4");
  EXPECT_EQ(spell(*parse_pattern("2:4x48")), "2:4x48");
  for (const char* wrong :
       {"", "2:4x", "2:4x0", "2:4x-1", "2:4x64 ", "2:4x6.5", "1:4", "4:8", "2:4x99999999999999999999"}) {
    auto pattern = parse_pattern(wrong);
    ASSERT_FALSE(pattern) << wrong;
    EXPECT_EQ(pattern.error().code, ErrorCode::kUsage);
    EXPECT_NE(pattern.error().message.find("2:4x64"), std::string::npos);
  }
}

TEST(SparsityPattern, MasksKeepTwoOfFourAndAreShared) {
  for (int64_t shared : {1, 2, 3, 16, 64}) {
    for (int64_t n : {1, 5, 16, 65, 130}) {
      for (int64_t k : {4, 12, 64}) {
        const SparsityPattern pattern{shared};
        std::vector<float> weights = random_scores(n * k);
        const Masks masks = masks_of_scores(weights.data(), n, k, pattern);
        EXPECT_EQ(masks.blocks(), (n + shared - 1) / shared);
        int64_t rows = 0;
        for (int64_t block = 0; block < masks.blocks(); ++block) {
          rows += masks.block_rows(block);
          EXPECT_EQ(static_cast<int64_t>(masks.columns(block).size()), k / 2);
        }
        EXPECT_EQ(rows, n);
        for (uint8_t mask : masks.kept) EXPECT_EQ(__builtin_popcount(mask), 2);
        apply_masks(masks, weights.data());
        const FoundPattern found = find_pattern(weights.data(), n, k);
        EXPECT_TRUE(found.is_legal);
        EXPECT_GE(found.shared_rows, std::min(shared, n));
      }
    }
  }
}

TEST(SparsityPattern, ScoresOfABlockAreSummed) {
  const std::vector<float> scores = {9, 0, 0, 1,  //
                                     0, 2, 1, 1,  //
                                     0, 1, 2, 0};
  const Masks own = masks_of_scores(scores.data(), 3, 4, {1});
  EXPECT_EQ(own.kept, (std::vector<uint8_t>{0b1001, 0b0110, 0b0110}));
  // Sums 9, 3, 3, 2: equal ones keep the lower column.
  EXPECT_EQ(masks_of_scores(scores.data(), 3, 4, {8}).kept, (std::vector<uint8_t>{0b0011}));
  EXPECT_DOUBLE_EQ(kept_part(scores.data(), own), 16.0 / 17);
  const double equal[4] = {1, 1, 1, 1};
  EXPECT_EQ(best_two(equal), 0b0011);
}

TEST(SparsityPattern, DroppedWeightsArePositiveZeros) {
  std::vector<float> weights = {-1, -2, -3, -4};
  apply_masks(masks_of_scores(std::vector<float>{1, 2, 3, 4}.data(), 1, 4, {1}), weights.data());
  EXPECT_EQ(weights, (std::vector<float>{0, 0, -3, -4}));
  EXPECT_FALSE(std::signbit(weights[0]));
  EXPECT_FALSE(std::signbit(weights[1]));
}

TEST(SparsityPattern, IsFoundInWeights) {
  // Rows 0 to 3 share a mask, and so do 4 to 7; row 8 needs another.
  std::vector<float> weights;
  for (int row = 0; row < 9; ++row) {
    const int kept = row == 8 ? 1 : row / 4;
    for (int i = 0; i < 4; ++i) weights.push_back(kept == 0 ? (i < 2 ? 1.0F : -0.0F) : (i >= 2 ? 2.0F : 0.0F));
  }
  FoundPattern found = find_pattern(weights.data(), 9, 4);
  EXPECT_TRUE(found.is_legal);
  EXPECT_EQ(found.shared_rows, 4);
  weights[8 * 4 + 0] = weights[8 * 4 + 1] = 5;
  weights[8 * 4 + 2] = weights[8 * 4 + 3] = 0;
  EXPECT_EQ(find_pattern(weights.data(), 9, 4).shared_rows, 4);
  weights[6 * 4 + 0] = 7;
  found = find_pattern(weights.data(), 9, 4);
  EXPECT_FALSE(found.is_legal);
  EXPECT_EQ(found.row, 6);
  EXPECT_EQ(found.group, 0);
  const std::vector<float> zeros(64);
  EXPECT_EQ(find_pattern(zeros.data(), 8, 8).shared_rows, 8);
}

TEST(SparsityPattern, LargestBlockIsThatOfATrial) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 50; ++trial) {
    const int64_t n = 1 + static_cast<int64_t>(random() % 20), shared = 1 + static_cast<int64_t>(random() % 6), k = 8;
    std::vector<float> weights = random_scores(n * k, random());
    apply_masks(masks_of_scores(random_scores(n * k, random()).data(), n, k, {shared}), weights.data());
    for (float& weight : weights) weight = random() % 3 == 0 ? 0 : weight;
    int64_t largest = 0;
    for (int64_t rows = 1; rows <= n; ++rows) {
      bool fits = true;
      for (int64_t first = 0; first < n; first += rows) {
        for (int64_t group = 0; group < k / 4; ++group) {
          int used = 0;
          for (int64_t i = 0; i < 4; ++i) {
            bool any = false;
            for (int64_t row = first; row < std::min(first + rows, n); ++row)
              any |= weights[static_cast<size_t>(row * k + group * 4 + i)] != 0;
            used += any;
          }
          fits &= used <= 2;
        }
      }
      if (fits) largest = rows;
    }
    EXPECT_EQ(find_pattern(weights.data(), n, k).shared_rows, largest);
  }
}

}  // namespace
}  // namespace hussar
