// Bars of a histogram, by counts worked out by hand, and the ranges of all methods side by side.
#include "quantize/method_ranges.h"

#include <gtest/gtest.h>

namespace hussar {
namespace {

Statistics of(std::vector<float> values) {
  Statistics statistics;
  statistics.add(values);
  return statistics;
}

TEST(BarsOf, CountsBetweenTheExtremes) {
  const Bars bars = bars_of(of({-2, -2, -1.5F, 0, 0, 0, 1.9F, 2}), 4);
  EXPECT_DOUBLE_EQ(bars.begin, -2);
  EXPECT_DOUBLE_EQ(bars.width, 1);
  EXPECT_EQ(bars.counts, (std::vector<double>{3, 0, 3, 2}));
}

TEST(BarsOf, OneNumberIsOneBar) {
  const Bars bars = bars_of(of({3, 3, 3}), 40);
  EXPECT_EQ(bars.counts, std::vector<double>{3});
  EXPECT_EQ(bars_of(of({0, 0}), 40).counts, std::vector<double>{2});
  EXPECT_TRUE(bars_of(Statistics(), 40).counts.empty());
}

TEST(BarsOf, LoseNothing) {
  std::vector<float> values;
  for (int i = 0; i < 10000; ++i) values.push_back(static_cast<float>(i % 997 - 300) * 0.013F);
  double sum = 0;
  for (double count : bars_of(of(values), 85).counts) sum += count;
  EXPECT_EQ(sum, 10000);
}

TEST(RangesOfAllMethods, AreThoseOfEachMethod) {
  Calibration calibration;
  calibration.tensors["a"].statistics = of({-1, 0.5F, 2, 0.25F});
  calibration.tensors["ranges alone"].range = {-1, 1, Method::kMinMax, ""};
  const auto list = ranges_of_all_methods(calibration);
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].name, "a");
  ASSERT_EQ(list[0].ranges.size(), methods_in_order().size());
  for (size_t i = 0; i < list[0].ranges.size(); ++i) {
    const Range expected = choose_range(calibration.tensors["a"].statistics, methods_in_order()[i], DType::kUInt8);
    EXPECT_EQ(list[0].ranges[i].low, expected.low);
    EXPECT_EQ(list[0].ranges[i].high, expected.high);
  }
  EXPECT_TRUE(list[1].ranges.empty());
}

}  // namespace
}  // namespace hussar
