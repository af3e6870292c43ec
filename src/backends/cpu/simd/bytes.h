// Bytes and 32-bit integers in vectors of kLanes. For *.simd.cpp files and their like only.
#pragma once
#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

HUSSAR_INLINE IVec load_ints(const int32_t* p) { return bits(load(reinterpret_cast<const float*>(p))); }

#if defined(__AVX512F__)
HUSSAR_INLINE IVec load_bytes(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
// Of numbers from 0 to 255.
HUSSAR_INLINE void store_bytes(uint8_t* p, IVec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}
#elif defined(__AVX2__)
HUSSAR_INLINE IVec load_bytes(const uint8_t* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
HUSSAR_INLINE void store_bytes(uint8_t* p, IVec a) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
#else
HUSSAR_INLINE IVec load_bytes(const uint8_t* p) { return {*p}; }
HUSSAR_INLINE void store_bytes(uint8_t* p, IVec a) { *p = static_cast<uint8_t>(a.v); }
#endif

// Of numbers from 0 to 255.
HUSSAR_INLINE void store_as(uint8_t* p, IVec a) { store_bytes(p, a); }
HUSSAR_INLINE void store_as(uint16_t* p, IVec a) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a.v));
#elif defined(__AVX2__)
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), words);
#else
  *p = static_cast<uint16_t>(a.v);
#endif
}

// The first min(n, kLanes).
#if defined(__AVX512F__)
HUSSAR_INLINE __mmask16 first_bytes(int n) { return static_cast<__mmask16>(n >= kLanes ? 0xffff : (1 << n) - 1); }
HUSSAR_INLINE IVec load_bytes_up_to(const uint8_t* p, int n) {
  return {_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first_bytes(n), p))};
}
HUSSAR_INLINE void store_bytes_up_to(uint8_t* p, IVec a, int n) {
  _mm512_mask_cvtepi32_storeu_epi8(p, first_bytes(n), a.v);
}
#else
HUSSAR_INLINE IVec load_bytes_up_to(const uint8_t* p, int n) {
  if (n >= kLanes) return load_bytes(p);
  uint8_t whole[kLanes] = {};
  memcpy(whole, p, static_cast<size_t>(n));
  return load_bytes(whole);
}
HUSSAR_INLINE void store_bytes_up_to(uint8_t* p, IVec a, int n) {
  if (n >= kLanes) return store_bytes(p, a);
  uint8_t whole[kLanes];
  store_bytes(whole, a);
  memcpy(p, whole, static_cast<size_t>(n));
}
#endif

// Bytes as Number: bytes or 16-bit numbers.
template <class Number>
HUSSAR_INLINE void copy_as(Number* dst, const uint8_t* source, int64_t count) {
  if constexpr (sizeof(Number) == 1) {
#if defined(__AVX512F__)
    // Most counts are small: a call would cost more than the bytes.
    for (int64_t i = 0; i < count; i += 64) {
      const __mmask64 rest = count - i < 64 ? (uint64_t{1} << (count - i)) - 1 : ~uint64_t{0};
      _mm512_mask_storeu_epi8(dst + i, rest, _mm512_maskz_loadu_epi8(rest, source + i));
    }
#else
    memcpy(dst, source, static_cast<size_t>(count));
#endif
  } else {
    int64_t i = 0;
#if defined(__AVX2__)
    for (; i + 16 <= count; i += 16) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + i), _mm256_cvtepu8_epi16(bytes));
    }
#endif
    for (; i < count; ++i) dst[i] = source[i];
  }
}

// ---- whole vectors of bytes ----------------------------------------------------------------------------------------

#if defined(__AVX512F__)
struct ByteVec {
  __m512i v;
};
constexpr int kByteLanes = 64;
HUSSAR_INLINE ByteVec zero_bytes() { return {_mm512_setzero_si512()}; }
HUSSAR_INLINE ByteVec load_whole(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
HUSSAR_INLINE void store_whole(uint8_t* p, ByteVec a) { _mm512_storeu_si512(p, a.v); }
HUSSAR_INLINE ByteVec max(ByteVec a, ByteVec b) { return {_mm512_max_epu8(a.v, b.v)}; }
#elif defined(__AVX2__)
struct ByteVec {
  __m256i v;
};
constexpr int kByteLanes = 32;
HUSSAR_INLINE ByteVec zero_bytes() { return {_mm256_setzero_si256()}; }
HUSSAR_INLINE ByteVec load_whole(const uint8_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
HUSSAR_INLINE void store_whole(uint8_t* p, ByteVec a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
HUSSAR_INLINE ByteVec max(ByteVec a, ByteVec b) { return {_mm256_max_epu8(a.v, b.v)}; }
#else
struct ByteVec {
  uint8_t v;
};
constexpr int kByteLanes = 1;
HUSSAR_INLINE ByteVec zero_bytes() { return {0}; }
HUSSAR_INLINE ByteVec load_whole(const uint8_t* p) { return {*p}; }
HUSSAR_INLINE void store_whole(uint8_t* p, ByteVec a) { *p = a.v; }
HUSSAR_INLINE ByteVec max(ByteVec a, ByteVec b) { return {a.v > b.v ? a.v : b.v}; }
#endif

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
