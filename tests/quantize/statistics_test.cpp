// Statistics: every figure is of the set of elements, whatever their order and however they were cut.
#include "quantize/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace hussar {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Statistics of(std::span<const float> values) {
  Statistics statistics;
  statistics.add(values);
  return statistics;
}

// Zeros, both signs, and magnitudes from tiny to large, so that bins merge many times.
std::vector<float> mixed(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    float value = normal(random);
    values[i] = i % 7 == 0 ? 0.0F : i % 1000 == 1 ? value * 1e6F : i % 11 == 0 ? value * 1e-6F : value;
  }
  return values;
}

TEST(Statistics, CountWhatIsThere) {
  std::vector<float> values = {0.0F, -0.0F, 1.0F, -3.0F, 1.999F, 1e-3F};
  Statistics statistics = of(values);
  EXPECT_EQ(statistics.elements(), 6);
  EXPECT_EQ(statistics.zeros(), 2);
  EXPECT_EQ(statistics.min(), -3.0F);
  EXPECT_EQ(statistics.max(), 1.999F);
  ASSERT_EQ(statistics.exponent(), -9);  // 3 lies in the upper half of 2048 bins of 2^-9
  auto bin = [](float magnitude) { return static_cast<size_t>(magnitude * 512); };
  EXPECT_EQ(statistics.negative()[bin(3.0F)], 1);
  EXPECT_EQ(statistics.positive()[bin(1.0F)], 1);
  EXPECT_EQ(statistics.positive()[bin(1.999F)], 1);
  EXPECT_EQ(statistics.positive()[0], 1);
  auto sum = [](std::span<const uint64_t> counts) {
    return std::accumulate(counts.begin(), counts.end(), uint64_t(0));
  };
  EXPECT_EQ(sum(statistics.positive()) + sum(statistics.negative()) + statistics.zeros(), 6);
}

TEST(Statistics, DoNotDependOnOrderOrSplit) {
  std::vector<float> values = mixed(300000, 1);
  Statistics whole = of(values);
  std::vector<float> shuffled = values;
  std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(2));
  EXPECT_EQ(of(shuffled), whole);
  std::sort(shuffled.begin(), shuffled.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  EXPECT_EQ(of(shuffled), whole);  // the worst case: bins merge all the time
  for (size_t piece : {1, 3, 1000, 8191, 65537}) {
    Statistics streamed, merged;
    for (size_t at = 0; at < values.size(); at += piece) {
      auto part = std::span<const float>(values).subspan(at, std::min(piece, values.size() - at));
      streamed.add(part);
      if (piece > 3) merged.merge(of(part));
    }
    EXPECT_EQ(streamed, whole) << piece;
    if (piece > 3) {
      EXPECT_EQ(merged, whole) << piece;
    }
  }
}

// As the header says it, one element after another.
TEST(Statistics, CountEveryElementOnceWhateverTheLength) {
  for (size_t count : {1, 7, 8, 9, 31, 1023, 1024, 1025, 8191, 8192, 30011}) {
    std::vector<float> values = mixed(count, static_cast<uint32_t>(count));
    if (count > 4) values[count / 2] = -0.0F;
    const Statistics statistics = of(values);
    std::vector<uint64_t> positive(Statistics::kBins), negative(Statistics::kBins);
    uint64_t zeros = 0;
    for (float value : values) {
      const auto bin = static_cast<size_t>(std::ldexp(std::fabs(value), -statistics.exponent()));
      if (value == 0)
        ++zeros;
      else
        ++(value > 0 ? positive : negative)[bin];
    }
    EXPECT_EQ(statistics.zeros(), zeros) << count;
    EXPECT_EQ(statistics.min(), *std::min_element(values.begin(), values.end())) << count;
    EXPECT_EQ(statistics.max(), *std::max_element(values.begin(), values.end())) << count;
    if (zeros == count) continue;
    EXPECT_TRUE(std::equal(positive.begin(), positive.end(), statistics.positive().begin())) << count;
    EXPECT_TRUE(std::equal(negative.begin(), negative.end(), statistics.negative().begin())) << count;
  }
}

TEST(Statistics, MergeInEitherDirection) {
  Statistics small = of(std::vector<float>{0.5F, 0.0F}), large = of(std::vector<float>{-1000.0F}), none;
  Statistics a = small, b = large;
  a.merge(large);
  b.merge(small);
  EXPECT_EQ(a, b);
  a.merge(none);
  EXPECT_EQ(a, b);
  none.merge(b);
  EXPECT_EQ(none, b);
}

TEST(Statistics, NotANumberAndInfinityAreCountedApart) {
  std::vector<float> values = {1.0F, NAN, -2.0F, kInfinity, -kInfinity, -NAN, 0.0F};
  Statistics statistics = of(values);
  EXPECT_EQ(statistics.nans(), 2);
  EXPECT_EQ(statistics.infinities(), 2);
  EXPECT_EQ(statistics.finite(), 3);
  EXPECT_EQ(statistics.max(), 1.0F);
  EXPECT_EQ(statistics.min(), -2.0F);
  for (float value : {NAN, kInfinity, -kInfinity}) {
    Statistics bad = of(std::vector<float>{value});
    EXPECT_EQ(bad.finite(), 0);
    bad.add(std::vector<float>{4.0F});
    EXPECT_EQ(bad.min(), 4.0F);
  }
}

TEST(Statistics, OneSidedAndExtremeNumbers) {
  EXPECT_EQ(of(std::vector<float>{2.0F, 5.0F}).min(), 2.0F);
  EXPECT_EQ(of(std::vector<float>{-2.0F, -5.0F}).max(), -2.0F);
  EXPECT_FALSE(std::signbit(of(std::vector<float>{-0.0F, 3.0F}).min()));
  float greatest = std::numeric_limits<float>::max(), least = std::numeric_limits<float>::denorm_min();
  Statistics extreme = of(std::vector<float>{greatest, -greatest, least});
  EXPECT_EQ(extreme.positive().back(), 1);
  EXPECT_EQ(extreme.negative().back(), 1);
  EXPECT_EQ(extreme.positive().front(), 1);
  EXPECT_EQ(of(std::vector<float>{least}).positive().front(), 1);
  Statistics zeros = of(std::vector<float>(100, 0.0F));
  EXPECT_EQ(zeros.zeros(), 100);
  EXPECT_TRUE(zeros.positive().empty());
}

Statistics::Figures figures_of(const Statistics& statistics) {
  auto list = [](std::span<const uint64_t> counts) { return std::vector<uint64_t>(counts.begin(), counts.end()); };
  return {statistics.zeros(), statistics.nans(),     statistics.infinities(),     statistics.min(),
          statistics.max(),   statistics.exponent(), list(statistics.positive()), list(statistics.negative())};
}

TEST(Statistics, ComeBackFromTheirFigures) {
  for (const auto& values : {mixed(5000, 3), std::vector<float>(4, 0.0F), std::vector<float>{}, {NAN}, {-1.0F}}) {
    Statistics statistics = of(values), back;
    ASSERT_TRUE(Statistics::from(figures_of(statistics), back));
    EXPECT_EQ(back, statistics);
  }
  Statistics ignored;
  auto refused = [&](auto&& change) {
    Statistics::Figures figures = figures_of(of(mixed(5000, 4)));
    change(figures);
    return !Statistics::from(figures, ignored);
  };
  using Figures = Statistics::Figures;
  EXPECT_TRUE(refused([](Figures& it) { it.exponent += 1; }));
  EXPECT_TRUE(refused([](Figures& it) { it.exponent = 1000; }));
  EXPECT_TRUE(refused([](Figures& it) { it.positive.resize(5000); }));
  EXPECT_TRUE(refused([](Figures& it) { it.positive.assign(it.positive.size(), 0); }));
  EXPECT_TRUE(refused([](Figures& it) { it.positive[0] = ~uint64_t(0); }));
  EXPECT_TRUE(refused([](Figures& it) { std::swap(it.min, it.max); }));
  EXPECT_TRUE(refused([](Figures& it) { it.max = kInfinity; }));
  EXPECT_TRUE(refused([](Figures& it) { it.max = NAN; }));
}

}  // namespace
}  // namespace hussar
