// Patterns: their spelling and their masks.
#include "sparsify/pattern.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/support/fits_pattern.h"

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
        EXPECT_TRUE(tests::fits_pattern(weights.data(), n, k, shared));
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

}  // namespace
}  // namespace hussar
