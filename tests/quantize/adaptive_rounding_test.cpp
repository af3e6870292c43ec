// Adaptive rounding: errors fall, on the rows that it sees and on others, and depend on nothing else.
#include "quantize/adaptive_rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace hussar {
namespace {

constexpr int64_t kChannels = 5;

// Rows whose elements follow from `causes` common ones, and a little of their own.
struct Problem {
  Problem(int64_t elements, int64_t count, int causes, uint32_t seed = 1) : elements(elements), count(count) {
    std::mt19937 structure(9), random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> mix(static_cast<size_t>(elements * causes));
    for (float& value : mix) value = normal(structure);
    for (int64_t i = 0; i < elements * kChannels; ++i) {
      weights.push_back(normal(structure) * 30);
      numbers.push_back(static_cast<int8_t>(std::nearbyint(std::clamp(weights.back(), -127.0F, 127.0F))));
      weights.back() = std::clamp(weights.back(), -127.0F, 127.0F);
    }
    for (int64_t row = 0; row < count; ++row) {
      std::vector<float> common(static_cast<size_t>(causes));
      for (float& value : common) value = normal(random);
      for (int64_t i = 0; i < elements; ++i) {
        float sum = 0.3F * normal(random);
        for (size_t k = 0; k < common.size(); ++k) sum += mix[static_cast<size_t>(i) * common.size() + k] * common[k];
        x.push_back(sum);
      }
      halves.push_back(static_cast<uint8_t>(row % 2));
    }
  }

  std::vector<std::vector<int32_t>> rounded(bool backwards = false) const {
    AdaptiveRounding rounding({x.data(), elements, elements, halves.data(), count}, input);
    for (int64_t part = 0; part < rounding.parts(); ++part)
      rounding.make(backwards ? rounding.parts() - 1 - part : part);
    return rounding.round(weights.data(), numbers.data(), kChannels);
  }

  // What the weights of one channel add to its squared error, in steps.
  double error(int64_t channel, const std::vector<int32_t>& flips) const {
    std::vector<double> excess;
    for (int64_t i = 0; i < elements; ++i) excess.push_back(double(numbers[at(i, channel)]) - weights[at(i, channel)]);
    for (int32_t i : flips) excess[static_cast<size_t>(i)] += excess[static_cast<size_t>(i)] < 0 ? 1 : -1;
    double sum = 0;
    for (int64_t row = 0; row < count; ++row) {
      double output = 0;
      for (int64_t i = 0; i < elements; ++i) {
        const float steps = std::nearbyint(x[static_cast<size_t>(row * elements + i)] / input.scale);
        output += std::clamp<double>(steps, -input.zero_point, 255 - input.zero_point) * excess[static_cast<size_t>(i)];
      }
      sum += output * output;
    }
    return sum;
  }
  static size_t at(int64_t element, int64_t channel) { return static_cast<size_t>(element * kChannels + channel); }

  int64_t elements, count;
  QuantParams input{0.08F, 120, DType::kUInt8};
  std::vector<float> x, weights;
  std::vector<int8_t> numbers;
  std::vector<uint8_t> halves;
};

TEST(AdaptiveRounding, ErrorsFallOnTheRowsAndOnOthers) {
  const Problem problem(70, 600, 8), other(70, 400, 8, 2);
  const auto flips = problem.rounded();
  ASSERT_EQ(flips.size(), kChannels);
  double before = 0, after = 0, before_elsewhere = 0, after_elsewhere = 0;
  for (int64_t channel = 0; channel < kChannels; ++channel) {
    const auto& list = flips[static_cast<size_t>(channel)];
    EXPECT_FALSE(list.empty());
    EXPECT_LT(list.size(), 50U);
    EXPECT_LE(problem.error(channel, list), problem.error(channel, {})) << channel;
    before += problem.error(channel, {});
    after += problem.error(channel, list);
    before_elsewhere += other.error(channel, {});
    after_elsewhere += other.error(channel, list);
  }
  EXPECT_LT(after, 0.75 * before);
  EXPECT_LT(after_elsewhere, 0.8 * before_elsewhere);
}

TEST(AdaptiveRounding, NeverRises) {
  for (int64_t elements : {1, 3, 31, 64, 130}) {
    for (int64_t count : {0, 1, 2, 17, 300}) {
      const Problem problem(elements, count, 2);
      const auto flips = problem.rounded();
      for (int64_t channel = 0; channel < kChannels; ++channel) {
        const double nearest = problem.error(channel, {});
        EXPECT_LE(problem.error(channel, flips[static_cast<size_t>(channel)]), nearest * (1 + 1e-5))
            << elements << " elements, " << count << " rows, channel " << channel;
      }
    }
  }
}

// What few rows ask for is chance: one half does not agree with the other.
TEST(AdaptiveRounding, FewRowsOfManyElementsChangeLittleElsewhere) {
  const Problem problem(200, 24, 200), other(200, 500, 200, 2);
  const auto flips = problem.rounded();
  double before = 0, after = 0;
  for (int64_t channel = 0; channel < kChannels; ++channel) {
    before += other.error(channel, {});
    after += other.error(channel, flips[static_cast<size_t>(channel)]);
  }
  EXPECT_LT(after, 1.1 * before);
}

TEST(AdaptiveRounding, PartsMayBeMadeInAnyOrder) {
  const Problem problem(100, 200, 4);
  EXPECT_EQ(problem.rounded(), problem.rounded(true));
}

TEST(AdaptiveRounding, WhatHasNoOtherNeighbourStays) {
  Problem problem(20, 100, 3);
  for (int64_t i = 0; i < problem.elements; ++i) {
    for (int64_t channel = 0; channel < kChannels; ++channel) {
      problem.weights[Problem::at(i, channel)] = i % 2 == 0 ? 126.9F : 3.0F;
      problem.numbers[Problem::at(i, channel)] = i % 2 == 0 ? 127 : 3;
    }
  }
  for (const auto& list : problem.rounded()) {
    for (int32_t i : list) EXPECT_EQ(i % 2, 0) << "an integer was moved";
  }
}

}  // namespace
}  // namespace hussar
