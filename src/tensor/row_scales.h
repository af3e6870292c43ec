// How hussar.QuantizeRows and what is fused with it make bytes of a row of numbers.
#pragma once
#include <cmath>
#include <cstdint>

namespace hussar {

// Rows whose largest magnitude is below the first are zeros; those with one above the second are not numbers.
inline constexpr float kLeastOfRow = 1e-30F, kMostOfRow = 1e30F;

// byte = x * inverse, rounded; x stands for byte * scale.
struct RowScale {
  float scale, inverse;
};

// largest: of the magnitudes of a row; NaN where it has one.
inline RowScale row_scale(float largest) {
  if (largest < kLeastOfRow) return {0, 0};
  if (!(largest <= kMostOfRow)) return {NAN, 0};
  return {largest / 127, 127 / largest};
}

// The product is exact (two times 24 bits), so it is rounded once: half to even.
inline int8_t row_byte(float x, const RowScale& scale) {
  if (scale.inverse == 0) return 0;
  return static_cast<int8_t>(std::nearbyint(static_cast<double>(x) * static_cast<double>(scale.inverse)));
}

// Rows of `length` numbers that follow one another.
inline void quantize_rows(const float* x, int64_t rows, int64_t length, int8_t* bytes, float* scales) {
  for (int64_t row = 0; row < rows; ++row) {
    float largest = 0;
    for (int64_t i = row * length; i < (row + 1) * length; ++i) {
      const float magnitude = std::fabs(x[i]);
      // Once it is NaN, nothing is larger.
      if (std::isnan(magnitude) || magnitude > largest) largest = magnitude;
    }
    const RowScale scale = row_scale(largest);
    scales[row] = scale.scale;
    for (int64_t i = row * length; i < (row + 1) * length; ++i) bytes[i] = row_byte(x[i], scale);
  }
}

}  // namespace hussar
