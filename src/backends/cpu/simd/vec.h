// A float vector of the width of the instruction set level: 16 lanes (avx512), 8 (avx2) or 1 (scalar).
//
// For *.simd.cpp files only. Vec holds kLanes floats, IVec the same number of int32, Mask one bit of truth per lane.
// The functions ending in _n touch only the first n lanes in memory, 0 <= n <= kLanes; load_n sets the others to 0.
// min/max propagate NaN from either side; the _second forms are one instruction and give b when either is NaN.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 warns about the don't-care operand inside its own AVX-512 intrinsics.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#define HUSSAR_INLINE inline __attribute__((always_inline))

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

#if defined(__AVX512F__)

constexpr int kLanes = 16;
struct Vec {
  __m512 v;
};
struct IVec {
  __m512i v;
};
struct Mask {
  __mmask16 v;
};

HUSSAR_INLINE Vec set(float x) { return {_mm512_set1_ps(x)}; }
HUSSAR_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
HUSSAR_INLINE void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
HUSSAR_INLINE __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << n) - 1); }
HUSSAR_INLINE Vec load_n(const float* p, int n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
HUSSAR_INLINE void store_n(float* p, Vec a, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), a.v); }
HUSSAR_INLINE Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
// a * b + c; the scalar level rounds twice, fma_once nowhere.
HUSSAR_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
HUSSAR_INLINE Vec min_second(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec max_second(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec sqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
HUSSAR_INLINE Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
HUSSAR_INLINE Vec floor(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)}; }
HUSSAR_INLINE Vec ceil(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)}; }
HUSSAR_INLINE IVec bits(Vec a) { return {_mm512_castps_si512(a.v)}; }
HUSSAR_INLINE Vec from_bits(IVec a) { return {_mm512_castsi512_ps(a.v)}; }
HUSSAR_INLINE IVec iset(int32_t x) { return {_mm512_set1_epi32(x)}; }
HUSSAR_INLINE IVec operator+(IVec a, IVec b) { return {_mm512_add_epi32(a.v, b.v)}; }
HUSSAR_INLINE IVec operator-(IVec a, IVec b) { return {_mm512_sub_epi32(a.v, b.v)}; }
HUSSAR_INLINE IVec operator&(IVec a, IVec b) { return {_mm512_and_si512(a.v, b.v)}; }
HUSSAR_INLINE IVec operator|(IVec a, IVec b) { return {_mm512_or_si512(a.v, b.v)}; }
HUSSAR_INLINE IVec operator^(IVec a, IVec b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int kBits>
HUSSAR_INLINE IVec shift_left(IVec a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
HUSSAR_INLINE IVec shift_right(IVec a) {
  return {_mm512_srai_epi32(a.v, kBits)};
}
HUSSAR_INLINE IVec to_int(Vec a) { return {_mm512_cvtps_epi32(a.v)}; }  // to nearest even
HUSSAR_INLINE Vec to_float(IVec a) { return {_mm512_cvtepi32_ps(a.v)}; }
HUSSAR_INLINE Mask operator<(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
HUSSAR_INLINE Mask operator<=(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
HUSSAR_INLINE Mask operator==(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
HUSSAR_INLINE Mask is_nan(Vec a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
HUSSAR_INLINE Mask operator&(Mask a, Mask b) { return {static_cast<__mmask16>(a.v & b.v)}; }
HUSSAR_INLINE Mask operator|(Mask a, Mask b) { return {static_cast<__mmask16>(a.v | b.v)}; }
// where ? yes : no
HUSSAR_INLINE Vec select(Mask where, Vec yes, Vec no) { return {_mm512_mask_blend_ps(where.v, no.v, yes.v)}; }
HUSSAR_INLINE bool any(Mask a) { return a.v != 0; }
HUSSAR_INLINE float sum_lanes(Vec a) { return _mm512_reduce_add_ps(a.v); }
HUSSAR_INLINE float max_lanes(Vec a) { return _mm512_reduce_max_ps(a.v); }  // lanes must not be NaN
HUSSAR_INLINE float min_lanes(Vec a) { return _mm512_reduce_min_ps(a.v); }  // lanes must not be NaN

#elif defined(__AVX2__)

constexpr int kLanes = 8;
struct Vec {
  __m256 v;
};
struct IVec {
  __m256i v;
};
struct Mask {
  __m256 v;
};

HUSSAR_INLINE Vec set(float x) { return {_mm256_set1_ps(x)}; }
HUSSAR_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
HUSSAR_INLINE void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
HUSSAR_INLINE __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
HUSSAR_INLINE Vec load_n(const float* p, int n) { return {_mm256_maskload_ps(p, first_lanes(n))}; }
HUSSAR_INLINE void store_n(float* p, Vec a, int n) { _mm256_maskstore_ps(p, first_lanes(n), a.v); }
HUSSAR_INLINE Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
HUSSAR_INLINE Vec min_second(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec max_second(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec sqrt(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
HUSSAR_INLINE Vec round(Vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
HUSSAR_INLINE Vec floor(Vec a) { return {_mm256_floor_ps(a.v)}; }
HUSSAR_INLINE Vec ceil(Vec a) { return {_mm256_ceil_ps(a.v)}; }
HUSSAR_INLINE IVec bits(Vec a) { return {_mm256_castps_si256(a.v)}; }
HUSSAR_INLINE Vec from_bits(IVec a) { return {_mm256_castsi256_ps(a.v)}; }
HUSSAR_INLINE IVec iset(int32_t x) { return {_mm256_set1_epi32(x)}; }
HUSSAR_INLINE IVec operator+(IVec a, IVec b) { return {_mm256_add_epi32(a.v, b.v)}; }
HUSSAR_INLINE IVec operator-(IVec a, IVec b) { return {_mm256_sub_epi32(a.v, b.v)}; }
HUSSAR_INLINE IVec operator&(IVec a, IVec b) { return {_mm256_and_si256(a.v, b.v)}; }
HUSSAR_INLINE IVec operator|(IVec a, IVec b) { return {_mm256_or_si256(a.v, b.v)}; }
HUSSAR_INLINE IVec operator^(IVec a, IVec b) { return {_mm256_xor_si256(a.v, b.v)}; }
template <int kBits>
HUSSAR_INLINE IVec shift_left(IVec a) {
  return {_mm256_slli_epi32(a.v, kBits)};
}
template <int kBits>
HUSSAR_INLINE IVec shift_right(IVec a) {
  return {_mm256_srai_epi32(a.v, kBits)};
}
HUSSAR_INLINE IVec to_int(Vec a) { return {_mm256_cvtps_epi32(a.v)}; }
HUSSAR_INLINE Vec to_float(IVec a) { return {_mm256_cvtepi32_ps(a.v)}; }
HUSSAR_INLINE Mask operator<(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
HUSSAR_INLINE Mask operator<=(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
HUSSAR_INLINE Mask operator==(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
HUSSAR_INLINE Mask is_nan(Vec a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
HUSSAR_INLINE Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.v, b.v)}; }
HUSSAR_INLINE Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.v, b.v)}; }
HUSSAR_INLINE Vec select(Mask where, Vec yes, Vec no) { return {_mm256_blendv_ps(no.v, yes.v, where.v)}; }
HUSSAR_INLINE bool any(Mask a) { return _mm256_movemask_ps(a.v) != 0; }
HUSSAR_INLINE float sum_lanes(Vec a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
HUSSAR_INLINE float max_lanes(Vec a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
HUSSAR_INLINE float min_lanes(Vec a) {
  __m128 x = _mm_min_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_min_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_min_ss(x, _mm_movehdup_ps(x)));
}

#else

constexpr int kLanes = 1;
struct Vec {
  float v;
};
struct IVec {
  int32_t v;
};
struct Mask {
  bool v;
};

HUSSAR_INLINE Vec set(float x) { return {x}; }
HUSSAR_INLINE Vec load(const float* p) { return {*p}; }
HUSSAR_INLINE void store(float* p, Vec a) { *p = a.v; }
HUSSAR_INLINE Vec load_n(const float* p, int n) { return {n > 0 ? *p : 0.0f}; }
HUSSAR_INLINE void store_n(float* p, Vec a, int n) {
  if (n > 0) *p = a.v;
}
HUSSAR_INLINE Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
HUSSAR_INLINE Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
HUSSAR_INLINE Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
HUSSAR_INLINE Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
HUSSAR_INLINE Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
HUSSAR_INLINE Vec min_second(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }
HUSSAR_INLINE Vec max_second(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
HUSSAR_INLINE Vec sqrt(Vec a) { return {sqrtf(a.v)}; }
HUSSAR_INLINE Vec round(Vec a) { return {nearbyintf(a.v)}; }
HUSSAR_INLINE Vec floor(Vec a) { return {floorf(a.v)}; }
HUSSAR_INLINE Vec ceil(Vec a) { return {ceilf(a.v)}; }
HUSSAR_INLINE IVec bits(Vec a) {
  IVec r;
  memcpy(&r, &a, sizeof(r));
  return r;
}
HUSSAR_INLINE Vec from_bits(IVec a) {
  Vec r;
  memcpy(&r, &a, sizeof(r));
  return r;
}
HUSSAR_INLINE IVec iset(int32_t x) { return {x}; }
HUSSAR_INLINE IVec operator+(IVec a, IVec b) {
  return {static_cast<int32_t>(static_cast<uint32_t>(a.v) + static_cast<uint32_t>(b.v))};
}
HUSSAR_INLINE IVec operator-(IVec a, IVec b) {
  return {static_cast<int32_t>(static_cast<uint32_t>(a.v) - static_cast<uint32_t>(b.v))};
}
HUSSAR_INLINE IVec operator&(IVec a, IVec b) { return {a.v & b.v}; }
HUSSAR_INLINE IVec operator|(IVec a, IVec b) { return {a.v | b.v}; }
HUSSAR_INLINE IVec operator^(IVec a, IVec b) { return {a.v ^ b.v}; }
template <int kBits>
HUSSAR_INLINE IVec shift_left(IVec a) {
  return {static_cast<int32_t>(static_cast<uint32_t>(a.v) << kBits)};
}
template <int kBits>
HUSSAR_INLINE IVec shift_right(IVec a) {
  return {a.v >> kBits};
}
// Out of range and NaN give INT32_MIN, as the vector instructions do.
HUSSAR_INLINE IVec to_int(Vec a) {
  return {a.v >= -2147483648.0f && a.v < 2147483648.0f ? static_cast<int32_t>(nearbyintf(a.v)) : INT32_MIN};
}
HUSSAR_INLINE Vec to_float(IVec a) { return {static_cast<float>(a.v)}; }
HUSSAR_INLINE Mask operator<(Vec a, Vec b) { return {a.v < b.v}; }
HUSSAR_INLINE Mask operator<=(Vec a, Vec b) { return {a.v <= b.v}; }
HUSSAR_INLINE Mask operator==(Vec a, Vec b) { return {a.v == b.v}; }
HUSSAR_INLINE Mask is_nan(Vec a) { return {a.v != a.v}; }
HUSSAR_INLINE Mask operator&(Mask a, Mask b) { return {a.v && b.v}; }
HUSSAR_INLINE Mask operator|(Mask a, Mask b) { return {a.v || b.v}; }
HUSSAR_INLINE Vec select(Mask where, Vec yes, Vec no) { return where.v ? yes : no; }
HUSSAR_INLINE bool any(Mask a) { return a.v; }
HUSSAR_INLINE float sum_lanes(Vec a) { return a.v; }
HUSSAR_INLINE float max_lanes(Vec a) { return a.v; }
HUSSAR_INLINE float min_lanes(Vec a) { return a.v; }

#endif

HUSSAR_INLINE Vec fma_once(Vec a, Vec b, Vec c) {
#if defined(__AVX2__)
  return fma(a, b, c);
#else
  return {__builtin_fmaf(a.v, b.v, c.v)};
#endif
}
// c - a * b, rounded once.
HUSSAR_INLINE Vec less_product(Vec c, Vec a, Vec b) {
#if defined(__AVX512F__)
  return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
#elif defined(__AVX2__)
  return {_mm256_fnmadd_ps(a.v, b.v, c.v)};
#else
  return {__builtin_fmaf(-a.v, b.v, c.v)};
#endif
}
// The value as it is: keeps the compiler from making a multiply-add of a product and its addition.
HUSSAR_INLINE Vec rounded(Vec a) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(a.v));  // any of the 32 registers
#else
  __asm__("" : "+x"(a.v));
#endif
  return a;
}
HUSSAR_INLINE Vec abs(Vec a) { return from_bits(bits(a) & iset(0x7fffffff)); }
HUSSAR_INLINE Vec neg(Vec a) { return from_bits(bits(a) ^ iset(INT32_MIN)); }
// The magnitude of a with the sign of b.
HUSSAR_INLINE Vec copy_sign(Vec a, Vec b) {
  return from_bits((bits(a) & iset(0x7fffffff)) | (bits(b) & iset(INT32_MIN)));
}
HUSSAR_INLINE Vec min(Vec a, Vec b) { return select(is_nan(a), a, min_second(a, b)); }
HUSSAR_INLINE Vec max(Vec a, Vec b) { return select(is_nan(a), a, max_second(a, b)); }
// The bounds are numbers; a NaN in a stays.
HUSSAR_INLINE Vec clamp(Vec a, Vec low, Vec high) { return min_second(high, max_second(low, a)); }
// The first lane of a load of min(n, kLanes) floats: the loop body of a row of any length.
HUSSAR_INLINE Vec load_up_to(const float* p, int n) { return n >= kLanes ? load(p) : load_n(p, n); }
HUSSAR_INLINE void store_up_to(float* p, Vec a, int n) {
  if (n >= kLanes) {
    store(p, a);
  } else {
    store_n(p, a, n);
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
