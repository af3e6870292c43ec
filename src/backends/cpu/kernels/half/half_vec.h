// A vector of 32 FP16 numbers. With HUSSAR_EMULATE_FP16 every operation is done in FP32 and rounded, so that everything
// around the instructions can be tested where there are none. Empty below AVX-512. Internal to kernels/half.
#pragma once
#include <immintrin.h>
#include <stdint.h>

#include "backends/cpu/simd/vec.h"

#if defined(__AVX512F__)

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

constexpr int kHalfLanes = 32;

// 16 numbers to FP16, to nearest even; what is too large becomes infinite.
HUSSAR_INLINE __m256i to_half(Vec x) { return _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// For narrow_rows.h.
struct Halves {
  static HUSSAR_INLINE void store(uint16_t* p, Vec low, Vec high) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_half(low));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 16), to_half(high));
  }
};

#if defined(HUSSAR_EMULATE_FP16)

struct HalfVec {
  __m512i v;
};
HUSSAR_INLINE __m512i bits_of(HalfVec a) { return a.v; }
HUSSAR_INLINE HalfVec half_of_bits(__m512i bits) { return {bits}; }
HUSSAR_INLINE Vec first_half(HalfVec a) { return {_mm512_cvtph_ps(_mm512_castsi512_si256(a.v))}; }
HUSSAR_INLINE Vec second_half(HalfVec a) { return {_mm512_cvtph_ps(_mm512_extracti64x4_epi64(a.v, 1))}; }
HUSSAR_INLINE HalfVec half_of(Vec low, Vec high) {
  return {_mm512_inserti64x4(_mm512_castsi256_si512(to_half(low)), to_half(high), 1)};
}
HUSSAR_INLINE HalfVec operator+(HalfVec a, HalfVec b) {
  return half_of(first_half(a) + first_half(b), second_half(a) + second_half(b));
}
HUSSAR_INLINE HalfVec fma(HalfVec a, HalfVec b, HalfVec c) {
  return half_of(fma(first_half(a), first_half(b), first_half(c)), fma(second_half(a), second_half(b), second_half(c)));
}

#else

struct HalfVec {
  __m512h v;
};
HUSSAR_INLINE __m512i bits_of(HalfVec a) { return _mm512_castph_si512(a.v); }
HUSSAR_INLINE HalfVec half_of_bits(__m512i bits) { return {_mm512_castsi512_ph(bits)}; }
HUSSAR_INLINE Vec first_half(HalfVec a) { return {_mm512_cvtph_ps(_mm512_castsi512_si256(bits_of(a)))}; }
HUSSAR_INLINE Vec second_half(HalfVec a) { return {_mm512_cvtph_ps(_mm512_extracti64x4_epi64(bits_of(a), 1))}; }
HUSSAR_INLINE HalfVec operator+(HalfVec a, HalfVec b) { return {_mm512_add_ph(a.v, b.v)}; }
HUSSAR_INLINE HalfVec fma(HalfVec a, HalfVec b, HalfVec c) { return {_mm512_fmadd_ph(a.v, b.v, c.v)}; }

#endif

HUSSAR_INLINE HalfVec half_zero() { return half_of_bits(_mm512_setzero_si512()); }
HUSSAR_INLINE HalfVec half_load(const uint16_t* p) { return half_of_bits(_mm512_loadu_si512(p)); }
// The two numbers at p in every 32 bits.
HUSSAR_INLINE HalfVec half_broadcast_pair(const uint16_t* p) {
  int32_t pair;
  memcpy(&pair, p, 4);
  return half_of_bits(_mm512_set1_epi32(pair));
}
// From sums of pairs to single ones: element 2i is that of pair i of `even`, element 2i + 1 that of pair i of `odd`.
HUSSAR_INLINE HalfVec add_pairs(HalfVec even, HalfVec odd) {
  constexpr __mmask32 kOddElements = 0xaaaaaaaa;
  const __m512i x = bits_of(even), y = bits_of(odd);
  const __m512i first = _mm512_mask_blend_epi16(kOddElements, x, _mm512_slli_epi32(y, 16));
  const __m512i second = _mm512_mask_blend_epi16(kOddElements, _mm512_srli_epi32(x, 16), y);
  return half_of_bits(first) + half_of_bits(second);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE

#endif
