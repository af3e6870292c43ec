// Ranges: what each method makes of known distributions, and what holds for all of them.
#include "quantize/range.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "quantize/entropy.h"

namespace hussar {
namespace {

constexpr Method kMethods[] = {
    Method::kAuto,           Method::kEntropy,         Method::kMinMax, Method::kPercentile999,
    Method::kPercentile9999, Method::kPercentile99999, Method::kMse};
constexpr DType kDtypes[] = {DType::kUInt8, DType::kInt8};

Statistics of(std::span<const float> values) {
  Statistics statistics;
  statistics.add(values);
  return statistics;
}

float normal(std::mt19937& random) { return std::normal_distribution<float>()(random); }

std::vector<float> made(size_t count, const std::function<float(std::mt19937&)>& draw) {
  std::mt19937 random(7);
  std::vector<float> values(count);
  for (float& value : values) value = draw(random);
  return values;
}

std::vector<float> softmax_rows(size_t rows) {
  std::mt19937 random(7);
  std::vector<float> values;
  for (size_t row = 0; row < rows; ++row) {
    std::vector<float> powers(128);
    float sum = 0;
    for (float& power : powers) sum += power = std::exp(2 * normal(random));
    for (float power : powers) values.push_back(power / sum);
  }
  return values;
}

// Signal to noise of the very elements, not of their histogram.
double measured_sqnr(const std::vector<float>& values, const QuantParams& params) {
  double signal = 0, noise = 0;
  double least = params.dtype == DType::kInt8 ? -128 : 0, greatest = params.dtype == DType::kInt8 ? 127 : 255;
  for (float value : values) {
    double q = std::clamp(std::nearbyint(double(value) / params.scale) + params.zero_point, least, greatest);
    double error = (q - params.zero_point) * params.scale - value;
    signal += double(value) * value;
    noise += error * error;
  }
  return noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
}

struct Distribution {
  const char* name;
  std::vector<float> values;
  // Decibels of the symmetric ranges, as an independent program measured them.
  double entropy, percentile999, percentile9999, mse, minmax;
};

const std::vector<Distribution>& distributions() {
  static const std::vector<Distribution> kAll = [] {
    constexpr size_t kCount = 400000;
    auto gelu = [](float x) { return x * 0.5F * (1 + std::erf(x / std::sqrt(2.0F))); };
    auto pick = [](std::mt19937& random, double share) { return std::uniform_real_distribution<>()(random) < share; };
    std::vector<Distribution> all;
    auto add = [&](const char* name, auto&& draw, double a, double b, double c, double d, double e) {
      all.push_back({name, made(kCount, draw), a, b, c, d, e});
    };
    using R = std::mt19937&;
    add(
        "relu", [](R r) { return std::max(0.0F, normal(r)); }, 40.3, 34.6, 40.5, 40.7, 39.3);
    add(
        "gaussian", [](R r) { return normal(r); }, 40.1, 37.3, 40.5, 40.5, 39.2);
    auto laplace = [](R r) {
      float magnitude = std::exponential_distribution<float>()(r);
      return r() % 2 == 0 ? magnitude : -magnitude;
    };
    add("laplace", laplace, 34.5, 29.0, 33.9, 34.5, 33.2);
    add(
        "gelu", [&](R r) { return gelu(1.5F * normal(r)); }, 38.0, 34.4, 37.9, 38.0, 36.9);
    auto silu = [](R r) {
      float x = 3 * normal(r);
      return x / (1 + std::exp(-x));
    };
    add("silu", silu, 33.0, 33.7, 37.9, 38.0, 36.2);
    add(
        "outliers", [&](R r) { return normal(r) * (pick(r, 0.002) ? 40 : 1); }, 5.9, 6.0, 16.8, 17.7, 14.8);
    add(
        "boxes", [&](R r) { return pick(r, 5e-5) ? 30 + normal(r) : normal(r); }, 16.0, 15.6, 15.8, 23.9, 22.7);
    all.push_back({"softmax", softmax_rows(kCount / 128), 9.3, 14.1, 24.7, 25.9, 25.3});
    return all;
  }();
  return kAll;
}

double sqnr_of(const Distribution& it, Method method, DType dtype) {
  Statistics statistics = of(it.values);
  QuantParams params = params_of(choose_range(statistics, method, dtype), dtype);
  double measured = measured_sqnr(it.values, params);
  // The histogram knows the error without the elements.
  EXPECT_NEAR(sqnr_db(statistics, params), measured, 0.3) << it.name << " " << method_name(method);
  return measured;
}

TEST(Range, MethodsReachTheSignalToNoiseKnownOfThem) {
  // The greatest of so many random elements varies, and the figures with it.
  constexpr double kVaries = 2.0;
  for (const Distribution& it : distributions()) {
    auto sqnr = [&](Method method) { return sqnr_of(it, method, DType::kInt8); };
    EXPECT_NEAR(sqnr(Method::kMse), it.mse, kVaries) << it.name;
    EXPECT_NEAR(sqnr(Method::kMinMax), it.minmax, kVaries) << it.name;
    EXPECT_NEAR(sqnr(Method::kPercentile999), it.percentile999, 3) << it.name;
    EXPECT_NEAR(sqnr(Method::kPercentile9999), it.percentile9999, 3) << it.name;
    // Entropy's threshold varies most, by up to 15 % of the range.
    EXPECT_NEAR(sqnr(Method::kEntropy), it.entropy, it.name == std::string("gelu") ? 8 : 3) << it.name;
  }
}

TEST(Range, LeastSquaresNeverLosesToTheOthers) {
  for (const Distribution& it : distributions()) {
    for (DType dtype : kDtypes) {
      double best = sqnr_of(it, Method::kMse, dtype);
      for (Method method : kMethods) EXPECT_GE(best, sqnr_of(it, method, dtype) - 0.05) << it.name;
    }
  }
}

TEST(Range, ZerosOfAReluStayOutOfEntropy) {
  std::vector<float> values = distributions()[0].values;
  Range range = choose_range(of(values), Method::kEntropy, DType::kInt8);
  values.resize(values.size() + 5'000'000);
  EXPECT_EQ(choose_range(of(values), Method::kEntropy, DType::kInt8).high, range.high);
  EXPECT_GE(sqnr_of(distributions()[0], Method::kEntropy, DType::kInt8), 39);
}

TEST(Range, OneSidedTensorsHaveAllLevelsOnTheirSide) {
  std::vector<float> values = distributions()[0].values;
  for (float sign : {1.0F, -1.0F}) {
    for (float& value : values) value = sign * std::fabs(value);
    for (Method method : kMethods) {
      QuantParams params = params_of(choose_range(of(values), method, DType::kUInt8), DType::kUInt8);
      EXPECT_EQ(params.zero_point, sign > 0 ? 0 : 255) << method_name(method);
      double finer = sqnr_db(of(values), params) -
                     sqnr_db(of(values), params_of(choose_range(of(values), method, DType::kInt8), DType::kInt8));
      EXPECT_GE(finer, method == Method::kPercentile999 ? 0 : 4) << method_name(method);
    }
  }
}

TEST(Range, PercentilesClipWhatTheySay) {
  std::vector<float> values = made(1'000'000, [](std::mt19937& random) { return normal(random); });
  struct {
    Method method;
    double clipped;
  } cases[] = {{Method::kPercentile999, 1e-3}, {Method::kPercentile9999, 1e-4}, {Method::kPercentile99999, 1e-5}};
  for (auto [method, clipped] : cases) {
    for (DType dtype : kDtypes) {
      Range range = choose_range(of(values), method, dtype);
      auto outside = std::count_if(values.begin(), values.end(),
                                   [&](float value) { return value < range.low || value > range.high; });
      EXPECT_NEAR(static_cast<double>(outside), clipped * 1e6, 3 + clipped * 3e4) << method_name(method);
    }
  }
}

// What a case is called in Range::note; "" where every method works.
struct Odd {
  const char* name;
  std::vector<float> values;
  std::string note;
};

std::vector<Odd> odd_tensors() {
  constexpr float kLargest = std::numeric_limits<float>::max(), kLeast = std::numeric_limits<float>::denorm_min();
  std::vector<float> sparse(200000, 0.0F);
  sparse[5] = 3;
  sparse[6] = -2;
  return {{"empty", {}, "no element was seen"},
          {"zeros", std::vector<float>(1000, 0.0F), "all elements are zero"},
          {"not a number", {NAN, NAN}, "no finite element was seen"},
          {"infinite", {std::numeric_limits<float>::infinity()}, "no finite element was seen"},
          {"constant", std::vector<float>(10, 3.5F), "all elements are equal"},
          {"negative constant", std::vector<float>(10, -3.5F), "all elements are equal"},
          {"two values", {1, 1, 1, -2}, ""},
          {"a zero and a value", {0, 0.25F}, ""},
          {"nearly all zero", sparse, ""},
          {"huge", {kLargest, -kLargest, 1}, ""},
          {"tiny", {kLeast, -kLeast, 0}, ""},
          {"one huge", {kLargest, 1e-30F, 1e-20F}, ""},
          {"far from zero", {1000, 1001, 1002}, ""}};
}

TEST(Range, OddTensorsAreSafeAndNamed) {
  for (const Odd& odd : odd_tensors()) {
    Statistics statistics = of(odd.values);
    for (Method method : kMethods) {
      for (DType dtype : kDtypes) {
        SCOPED_TRACE(std::string(odd.name) + " " + std::string(method_name(method)));
        Range range = choose_range(statistics, method, dtype);
        QuantParams params = params_of(range, dtype);
        EXPECT_TRUE(odd.note.empty() || range.note == odd.note) << range.note;
        EXPECT_TRUE(std::isfinite(range.low) && std::isfinite(range.high));
        EXPECT_TRUE(range.low <= 0 && range.high >= 0);
        EXPECT_TRUE(std::isnormal(params.scale) && params.scale > 0);
        EXPECT_TRUE(params.zero_point >= 0 && params.zero_point <= (dtype == DType::kInt8 ? 0 : 255));
        EXPECT_FALSE(std::isnan(sqnr_db(statistics, params)));
        EXPECT_EQ(params.dtype, dtype);
      }
    }
  }
}

TEST(Range, ConstantsAreExactAndFewValuesNearlySo) {
  for (float value : {3.5F, -0.1F, 1e-20F, 7e30F}) {
    std::vector<float> values(10, value);
    for (DType dtype : kDtypes) {
      QuantParams params = params_of(choose_range(of(values), Method::kMse, dtype), dtype);
      EXPECT_GE(measured_sqnr(values, params), 120) << value;
    }
  }
  std::vector<float> values = {1, 1, 1, -2, 0, 0};
  QuantParams params = params_of(choose_range(of(values), Method::kEntropy, DType::kInt8), DType::kInt8);
  EXPECT_GE(measured_sqnr(values, params), 40);
}

TEST(Range, DependsOnTheElementsOnly) {
  std::vector<float> values = distributions()[3].values, shuffled = values;
  std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(3));
  Statistics pieces;
  for (size_t at = 0; at < shuffled.size(); at += 999) {
    pieces.add(std::span<const float>(shuffled).subspan(at, std::min<size_t>(999, shuffled.size() - at)));
  }
  for (Method method : kMethods) {
    for (DType dtype : kDtypes) {
      Range a = choose_range(of(values), method, dtype), b = choose_range(pieces, method, dtype);
      EXPECT_EQ(a.low, b.low);
      EXPECT_EQ(a.high, b.high);
    }
  }
}

// The definition, bin by bin.
double slow_entropy_threshold(const std::vector<double>& magnitudes) {
  size_t top = magnitudes.size();
  while (top > 0 && magnitudes[top - 1] == 0) --top;
  double least = std::numeric_limits<double>::infinity(), best = 0;
  for (size_t last = 127; last < top; ++last) {
    std::vector<double> p(magnitudes.begin(), magnitudes.begin() + static_cast<int64_t>(last) + 1), q(last + 1);
    p[0] = 0;
    std::vector<double> kept = p, levels(127), filled(127);
    for (size_t i = last + 1; i < top; ++i) p[last] += magnitudes[i];
    auto level_of = [&](size_t i) {
      return i == last ? 126 : std::min<size_t>(126, static_cast<size_t>((i + 0.5) / ((last + 0.5) / 127)));
    };
    double all = 0, all_kept = 0, sum = 0;
    for (size_t i = 0; i <= last; ++i) {
      levels[level_of(i)] += kept[i];
      filled[level_of(i)] += p[i] > 0 ? 1 : 0;
      all += p[i];
      all_kept += kept[i];
    }
    for (size_t i = 0; i <= last; ++i) {
      if (p[i] == 0) continue;
      double level = std::max(levels[level_of(i)], 1e-4) / filled[level_of(i)];
      sum += p[i] / all * std::log(p[i] / all / (level / all_kept));
    }
    if (sum < least - 1e-13) {
      least = sum;
      best = static_cast<double>(last) + 0.5;
    }
  }
  return best;
}

TEST(Range, EntropyIsTheDivergenceByItsDefinition) {
  std::mt19937 random(5);
  for (int round = 0; round < 6; ++round) {
    std::vector<double> magnitudes(300);
    for (size_t i = 0; i < magnitudes.size(); ++i) {
      double density = 1e4 * std::exp(-static_cast<double>(i) / (20 + 10 * round));
      magnitudes[i] = std::floor(density * std::uniform_real_distribution<>(0.5, 1.5)(random));
      if (random() % 8 == 0) magnitudes[i] = 0;
    }
    EXPECT_EQ(entropy_threshold(magnitudes), slow_entropy_threshold(magnitudes)) << round;
  }
}

TEST(Range, MethodsTakeLessThanATenthOfASecond) {
  auto begin = std::chrono::steady_clock::now();
  int searches = 0;
  for (const Distribution& it : distributions()) {
    Statistics statistics = of(it.values);
    for (Method method : kMethods) choose_range(statistics, method, DType::kUInt8), ++searches;
  }
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(elapsed.count() / searches, 0.1);
}

TEST(Range, MethodsHaveNames) {
  for (Method method : kMethods) EXPECT_EQ(method_from_name(method_name(method)), method);
  EXPECT_EQ(method_from_name("percentile"), Method::kPercentile9999);
  EXPECT_FALSE(method_from_name("percentile99").has_value());
  EXPECT_NE(all_method_names().find("minmax"), std::string::npos);
}

}  // namespace
}  // namespace hussar
