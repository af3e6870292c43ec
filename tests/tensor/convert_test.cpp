// Conversions between element types: every value of the small types, rounding, saturation.
#include "tensor/convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

namespace hussar {
namespace {

constexpr DType kByteFloats[] = {DType::kFloat8E4M3FN, DType::kFloat8E4M3FNUZ, DType::kFloat8E5M2,
                                 DType::kFloat8E5M2FNUZ, DType::kFloat8E8M0};
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Convert, EveryHalfRoundTrips) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    float value = half_to_float(static_cast<uint16_t>(bits));
    if (std::isnan(value))
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(value)))) << bits;
    else
      ASSERT_EQ(float_to_half(value), bits);
  }
}

TEST(Convert, EveryBFloat16RoundTrips) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    float value = bfloat16_to_float(static_cast<uint16_t>(bits));
    if (std::isnan(value))
      EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(value)))) << bits;
    else
      ASSERT_EQ(float_to_bfloat16(value), bits);
  }
}

TEST(Convert, EveryFloat8RoundTrips) {
  for (DType dtype : kByteFloats) {
    for (int bits = 0; bits < 256; ++bits) {
      float value = small_float_to_float(static_cast<uint8_t>(bits), dtype);
      for (bool saturate : {false, true}) {
        uint8_t back = float_to_small_float(value, dtype, saturate);
        if (std::isnan(value))
          ASSERT_TRUE(std::isnan(small_float_to_float(back, dtype))) << dtype_name(dtype) << bits;
        else if (!(saturate && std::isinf(value)))
          ASSERT_EQ(back, bits) << dtype_name(dtype) << " saturate " << saturate;
      }
    }
  }
  for (int bits = 0; bits < 16; ++bits) {
    float value = small_float_to_float(static_cast<uint8_t>(bits), DType::kFloat4E2M1);
    ASSERT_EQ(float_to_small_float(value, DType::kFloat4E2M1, true), bits);
  }
}

// The nearest of all values of the type, ties to the even pattern.
uint8_t nearest(float value, DType dtype) {
  int best = -1;
  double distance = 0;
  for (int bits = 0; bits < 256; ++bits) {
    float candidate = small_float_to_float(static_cast<uint8_t>(bits), dtype);
    if (!std::isfinite(candidate) || std::signbit(candidate) != std::signbit(value)) continue;
    double d = std::fabs(static_cast<double>(candidate) - static_cast<double>(value));
    if (best < 0 || d < distance || (d == distance && bits % 2 == 0)) {
      best = bits;
      distance = d;
    }
  }
  return static_cast<uint8_t>(best);
}

TEST(Convert, Float8RoundsToNearestEven) {
  std::mt19937 random(1);
  for (DType dtype : kByteFloats) {
    if (dtype == DType::kFloat8E8M0) continue;
    bool no_negative_zero = dtype == DType::kFloat8E4M3FNUZ || dtype == DType::kFloat8E5M2FNUZ;
    for (int i = 0; i < 20000; ++i) {
      float value = std::ldexp(static_cast<float>(random() % 4096) / 4096.0F, static_cast<int>(random() % 40) - 24);
      if (random() % 2 == 0 && value != 0) value = -value;
      uint8_t got = float_to_small_float(value, dtype, true);
      uint8_t want = nearest(value, dtype);
      float got_value = small_float_to_float(got, dtype), want_value = small_float_to_float(want, dtype);
      if (no_negative_zero && got_value == 0) {
        ASSERT_LE(std::fabs(value), std::fabs(value - want_value) + 1e-30F) << dtype_name(dtype) << " " << value;
        continue;
      }
      ASSERT_EQ(got_value, want_value) << dtype_name(dtype) << " of " << value;
    }
  }
}

TEST(Convert, HalfRoundsToNearestEven) {
  EXPECT_EQ(float_to_half(1.0F + 0x1p-11F), 0x3C00);      // a tie, down to even
  EXPECT_EQ(float_to_half(1.0F + 3 * 0x1p-11F), 0x3C02);  // a tie, up to even
  EXPECT_EQ(float_to_half(65519.99F), 0x7BFF);
  EXPECT_EQ(float_to_half(65520.0F), 0x7C00);
  EXPECT_EQ(float_to_half(0x1p-25F), 0x0000);  // half of the smallest, down to even
  EXPECT_EQ(float_to_half(0x1.8p-25F), 0x0001);
  EXPECT_EQ(float_to_half(-kInfinity), 0xFC00);
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0x3F808000U)), 0x3F80);
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0x3F818000U)), 0x3F82);
}

TEST(Convert, OutOfRangeFloat8) {
  EXPECT_EQ(small_float_to_float(float_to_small_float(1e9F, DType::kFloat8E4M3FN, true), DType::kFloat8E4M3FN), 448.0F);
  EXPECT_TRUE(
      std::isnan(small_float_to_float(float_to_small_float(1e9F, DType::kFloat8E4M3FN, false), DType::kFloat8E4M3FN)));
  EXPECT_EQ(small_float_to_float(float_to_small_float(1e9F, DType::kFloat8E5M2, false), DType::kFloat8E5M2), kInfinity);
  EXPECT_EQ(small_float_to_float(float_to_small_float(-1e9F, DType::kFloat8E5M2, true), DType::kFloat8E5M2), -57344.0F);
}

template <class T>
double through(DType dtype, T value) {
  Tensor tensor(dtype, {1});
  store_elements<T>(tensor, 0, 1, &value);
  double result = 0;
  load_elements<double>(tensor, 0, 1, &result);
  return result;
}

TEST(Convert, FloatToIntegerTruncatesAndClamps) {
  EXPECT_EQ(through(DType::kInt8, 1.9F), 1);
  EXPECT_EQ(through(DType::kInt8, -1.9F), -1);
  EXPECT_EQ(through(DType::kInt8, 1000.0F), 127);
  EXPECT_EQ(through(DType::kInt8, -kInfinity), -128);
  EXPECT_EQ(through(DType::kUInt8, -5.0F), 0);
  EXPECT_EQ(through(DType::kInt32, std::numeric_limits<float>::quiet_NaN()), 0);
  EXPECT_EQ(through(DType::kInt64, 1e30), 9223372036854775807.0);
  EXPECT_EQ(through(DType::kUInt64, 1e30), 18446744073709551615.0);
}

TEST(Convert, IntegersWrap) {
  EXPECT_EQ(through<int64_t>(DType::kInt8, 200), -56);
  EXPECT_EQ(through<int64_t>(DType::kUInt8, -1), 255);
  EXPECT_EQ(through<int64_t>(DType::kInt4, 9), -7);
  EXPECT_EQ(through<int64_t>(DType::kUInt4, 17), 1);
  EXPECT_EQ(through<int64_t>(DType::kInt2, 2), -2);
  EXPECT_EQ(through<int64_t>(DType::kBool, 7), 1);
  EXPECT_EQ(through<uint64_t>(DType::kInt64, std::numeric_limits<uint64_t>::max()), -1);
}

TEST(Convert, EveryTypeStoresSmallNumbersExactly) {
  for (int code = 1; code <= 26; ++code) {
    auto dtype = static_cast<DType>(code);
    if (dtype_size(dtype) == 0) continue;
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
    EXPECT_EQ(through(dtype, 1.0F), 1) << dtype_name(dtype);
    if (dtype == DType::kFloat8E8M0) continue;
    EXPECT_EQ(through(dtype, 0.0F), 0) << dtype_name(dtype);
  }
}

}  // namespace
}  // namespace hussar
