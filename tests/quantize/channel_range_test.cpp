// ChannelRange: the extremes of every channel, however the rows were cut.
#include "quantize/channel_range.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace hussar {
namespace {

TEST(ChannelRange, IsThatOfTheColumnsForAnyWidthAndCut) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (size_t width : {1, 3, 8, 13, 16, 24, 40, 100}) {
    constexpr size_t kRows = 9;
    std::vector<float> values(kRows * width), min(width, INFINITY), max(width, -INFINITY);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = i % 5 == 0 ? -0.0F : normal(random);
      min[i % width] = std::min(min[i % width], values[i]);
      max[i % width] = std::max(max[i % width], values[i]);
    }
    const auto channels = static_cast<int64_t>(width);
    for (size_t piece : {size_t(1), size_t(5), width, width + 3, values.size()}) {
      ChannelRange streamed, merged;
      for (size_t at = 0; at < values.size(); at += piece) {
        const auto part = std::span<const float>(values).subspan(at, std::min(piece, values.size() - at));
        ChannelRange own;
        streamed.add(part, static_cast<int64_t>(at), channels);
        own.add(part, static_cast<int64_t>(at), channels);
        merged.merge(own);
      }
      EXPECT_EQ(streamed.min, min) << width << " " << piece;
      EXPECT_EQ(streamed.max, max) << width << " " << piece;
      EXPECT_EQ(merged.min, min) << width << " " << piece;
      EXPECT_EQ(merged.max, max) << width << " " << piece;
    }
  }
}

TEST(ChannelRange, HasNoNegativeZeros) {
  ChannelRange range;
  range.add(std::vector<float>(24, -0.0F), 0, 12);
  for (float value : range.min) EXPECT_FALSE(std::signbit(value));
}

}  // namespace
}  // namespace hussar
