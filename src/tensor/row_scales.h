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

}  // namespace hussar
