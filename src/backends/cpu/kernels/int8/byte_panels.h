// Packing of matrices of bytes whose rows lie one after another, into panels of INT8 products. Internal to kernels/int8
// and kernels/attention, for files compiled per level only.
#pragma once
#include <immintrin.h>

#include "backends/cpu/int8_packing.h"
#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

HUSSAR_INLINE __m128i load_16(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

// 4 rows of 16 columns side by side, each byte changed by one exclusive or.
HUSSAR_INLINE void pack_4_rows(const uint8_t* rows, int64_t stride, __m128i flip, int8_t* out) {
  const __m128i a = load_16(rows), b = load_16(rows + stride);
  const __m128i c = load_16(rows + 2 * stride), d = load_16(rows + 3 * stride);
  const __m128i ab_low = _mm_unpacklo_epi8(a, b), ab_high = _mm_unpackhi_epi8(a, b);
  const __m128i cd_low = _mm_unpacklo_epi8(c, d), cd_high = _mm_unpackhi_epi8(c, d);
  auto* const to = reinterpret_cast<__m128i*>(out);
  _mm_storeu_si128(to, _mm_xor_si128(_mm_unpacklo_epi16(ab_low, cd_low), flip));
  _mm_storeu_si128(to + 1, _mm_xor_si128(_mm_unpackhi_epi16(ab_low, cd_low), flip));
  _mm_storeu_si128(to + 2, _mm_xor_si128(_mm_unpacklo_epi16(ab_high, cd_high), flip));
  _mm_storeu_si128(to + 3, _mm_xor_si128(_mm_unpackhi_epi16(ab_high, cd_high), flip));
}

// A panel of up to 16 columns of a matrix of `rows` rows, up to `depth` rows.
HUSSAR_INLINE void pack_byte_panel(const uint8_t* b, int64_t stride, int64_t rows, int64_t depth, int columns,
                                   uint8_t flip, int8_t* panel) {
  const __m128i flips = _mm_set1_epi8(static_cast<char>(flip));
  const int64_t whole = columns == kInt8Columns ? rows / 4 * 4 : 0;
  for (int64_t row = 0; row < whole; row += 4) pack_4_rows(b + row * stride, stride, flips, panel + row * kInt8Columns);
  memset(panel + whole * kInt8Columns, 0, static_cast<size_t>((depth - whole) * kInt8Columns));
  for (int64_t row = whole; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      panel[row / 4 * 64 + column * 4 + row % 4] = static_cast<int8_t>(b[row * stride + column] ^ flip);
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
