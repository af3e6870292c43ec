// The integers that dequantized weights are.
#include "passes/support/weight_grid.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace hussar {
namespace {

TEST(WeightGrid, FindsTheIntegersAgain) {
  for (float scale : {0.0123F, 1e-6F, 3.7F, 0.0078125F}) {
    std::vector<float> weights;
    for (int q : {-128, 3, 0, 127, 56, -77}) weights.push_back(static_cast<float>(q) * scale);
    auto found = grid_of({weights.data(), 6, 1});
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->scale, scale);
    EXPECT_EQ(found->offset, 0);
    // Every second number: -128, 0 and 56 are multiples of 8.
    found = grid_of({weights.data(), 3, 2});
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->scale, scale * 8);
    // A factor that was folded in.
    for (float& weight : weights) weight *= 0.77F;
    found = grid_of({weights.data(), 6, 1});
    ASSERT_TRUE(found.has_value());
    EXPECT_NEAR(found->scale, scale * 0.77F, scale * 1e-6F);
    EXPECT_EQ(found->offset, 0);
  }
  const float zeros[] = {0, 0};
  const auto found = grid_of({zeros, 2, 1});
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->scale, 1.0F);
  EXPECT_EQ(found->offset, 0);
}

// Bytes less a zero point: an offset of the least magnitude, where they do not fit without.
TEST(WeightGrid, FindsZeroPoints) {
  for (float scale : {0.0123F, 1e-6F, 3.7F}) {
    for (int zero_point = 0; zero_point <= 255; ++zero_point) {
      std::vector<float> weights;
      for (int q : {0, 255, 128, 7, 100, 201}) weights.push_back(static_cast<float>(q - zero_point) * scale);
      const auto found = grid_of({weights.data(), 6, 1});
      ASSERT_TRUE(found.has_value()) << zero_point;
      EXPECT_EQ(found->scale, scale);
      EXPECT_EQ(found->offset, 128 - zero_point);
      // Without the first two they are from 7 to 201.
      const auto some = grid_of({weights.data() + 2, 4, 1});
      ASSERT_TRUE(some.has_value()) << zero_point;
      const int least = 7 - zero_point, most = 201 - zero_point;
      EXPECT_EQ(some->offset, most > 127 ? most - 127 : least < -128 ? least + 128 : 0);
    }
  }
}

TEST(WeightGrid, OthersHaveNone) {
  const float odd[] = {0.3F, 0.11F, -0.777F, 0.1234F}, wide[] = {1, 257}, wide_around_0[] = {-127, 129, 1};
  const float not_finite[] = {1, INFINITY}, tiny[] = {1e-42F, 3e-42F};
  EXPECT_FALSE(grid_of({odd, 4, 1}));
  EXPECT_FALSE(grid_of({wide, 2, 1}));
  EXPECT_FALSE(grid_of({wide_around_0, 3, 1}));
  EXPECT_FALSE(grid_of({not_finite, 2, 1}));
  EXPECT_FALSE(grid_of({tiny, 2, 1}));
}

// Five numbers of a channel tell: depthwise weights have nine.
TEST(WeightGrid, WeightsThatWereNeverQuantizedHaveNone) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 20000; ++i) {
    float weights[5];
    for (float& weight : weights) weight = normal(generator);
    ASSERT_FALSE(grid_of({weights, 5, 1})) << i;
  }
}

}  // namespace
}  // namespace hussar
