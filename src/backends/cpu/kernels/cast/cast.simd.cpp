// One loop per pair of types, simple enough for the compiler's vectorizer, and hand-written ones for float16.
#include "backends/cpu/kernels/cast/cast.h"

#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

struct Half {
  uint16_t bits;
};
struct Brain {
  uint16_t bits;
};
struct Bool {
  uint8_t bits;
};

HUSSAR_INLINE uint32_t bits_of(float value) {
  uint32_t result;
  memcpy(&result, &value, sizeof(result));
  return result;
}
HUSSAR_INLINE float float_of(uint32_t bits) {
  float result;
  memcpy(&result, &bits, sizeof(result));
  return result;
}

HUSSAR_INLINE float widen(Half half) {
  const uint32_t sign = static_cast<uint32_t>(half.bits & 0x8000) << 16;
  const uint32_t magnitude = half.bits & 0x7fff;
  // Moves the exponent by a multiplication, which also normalises subnormal halves.
  const float scaled = float_of(magnitude << 13) * float_of(0x77800000);  // 2^112
  const uint32_t bits = magnitude >= 0x7c00 ? (magnitude << 13) | 0x7f800000 : bits_of(scaled);
  return float_of(sign | bits);
}

HUSSAR_INLINE Half narrow_to_half(float value) {
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffff, sign = (bits >> 16) & 0x8000;
  uint32_t result;
  if (magnitude > 0x7f800000) {
    result = 0x7e00;
  } else if (magnitude >= 0x477ff000) {
    result = 0x7c00;
  } else if (magnitude < 0x38800000) {
    // Adding 1/2 puts the last bit of a subnormal half at the last bit of the float; the hardware rounds.
    result = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
  } else {
    result = (magnitude + 0xfff + ((magnitude >> 13) & 1) - (112u << 23)) >> 13;
  }
  return {static_cast<uint16_t>(sign | result)};
}

HUSSAR_INLINE float widen(Brain brain) { return float_of(static_cast<uint32_t>(brain.bits) << 16); }

HUSSAR_INLINE Brain narrow_to_brain(float value) {
  const uint32_t bits = bits_of(value);
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  const uint32_t rounded = is_nan ? bits | 0x400000 : bits + 0x7fff + ((bits >> 16) & 1);
  return {static_cast<uint16_t>(rounded >> 16)};
}

template <class T>
struct Limits {
  static constexpr T lowest =
      static_cast<T>(-1) < static_cast<T>(0) ? static_cast<T>(T{1} << (8 * sizeof(T) - 1)) : T{0};
  static constexpr T highest = static_cast<T>(~lowest);
};

template <class T>
HUSSAR_INLINE T clamp_to(float value) {
  // The bounds as floats are powers of two, or exact.
  const float low = static_cast<float>(Limits<T>::lowest), high = static_cast<float>(Limits<T>::highest);
  if (value != value) return 0;
  if (value >= high) return Limits<T>::highest;
  if (value <= low) return Limits<T>::lowest;
  return static_cast<T>(value);
}

// What the input types compute as: float, or themselves.
HUSSAR_INLINE float value_of(float x) { return x; }
HUSSAR_INLINE float value_of(Half x) { return widen(x); }
HUSSAR_INLINE float value_of(Brain x) { return widen(x); }
HUSSAR_INLINE int32_t value_of(int32_t x) { return x; }
HUSSAR_INLINE int64_t value_of(int64_t x) { return x; }
HUSSAR_INLINE int32_t value_of(uint8_t x) { return x; }
HUSSAR_INLINE int32_t value_of(int8_t x) { return x; }
HUSSAR_INLINE int32_t value_of(Bool x) { return x.bits; }

template <class T>
struct To {
  static T of(float x) { return clamp_to<T>(x); }
  static T of(int32_t x) { return static_cast<T>(x); }
  static T of(int64_t x) { return static_cast<T>(x); }
};
template <>
struct To<float> {
  template <class V>
  static float of(V x) {
    return static_cast<float>(x);
  }
};
template <>
struct To<Half> {
  template <class V>
  static Half of(V x) {
    return narrow_to_half(static_cast<float>(x));
  }
};
template <>
struct To<Brain> {
  template <class V>
  static Brain of(V x) {
    return narrow_to_brain(static_cast<float>(x));
  }
};
template <>
struct To<Bool> {
  template <class V>
  static Bool of(V x) {
    return {static_cast<uint8_t>(x != 0 ? 1 : 0)};
  }
};

template <class From, class Result>
void convert(const void* input, void* output, int64_t count) {
  const From* __restrict in = static_cast<const From*>(input);
  Result* __restrict out = static_cast<Result*>(output);
  int64_t i = 0;
#if defined(__AVX2__)
  if constexpr (__is_same(From, Half) && __is_same(Result, float)) {
    for (; i + 8 <= count; i += 8) {
      _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
    }
  }
  if constexpr (__is_same(From, float) && __is_same(Result, Half)) {
    for (; i + 8 <= count; i += 8) {
      const __m256 x = _mm256_loadu_ps(in + i);
      if (_mm256_movemask_ps(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)) != 0) {
        // The instruction keeps the payload of a NaN; one NaN is as good as another, but results shall not differ.
        for (int k = 0; k < 8; ++k) out[i + k] = narrow_to_half(in[i + k]);
        continue;
      }
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    }
  }
#endif
  for (; i < count; ++i) out[i] = To<Result>::of(value_of(in[i]));
}

#define HUSSAR_CAST_ROW(From)                                                                                        \
  {                                                                                                                  \
    convert<From, float>, convert<From, Half>, convert<From, Brain>, convert<From, int32_t>, convert<From, int64_t>, \
        convert<From, uint8_t>, convert<From, int8_t>, convert<From, Bool>                                           \
  }

}  // namespace

extern const CastTable cast_table = {{HUSSAR_CAST_ROW(float), HUSSAR_CAST_ROW(Half), HUSSAR_CAST_ROW(Brain),
                                      HUSSAR_CAST_ROW(int32_t), HUSSAR_CAST_ROW(int64_t), HUSSAR_CAST_ROW(uint8_t),
                                      HUSSAR_CAST_ROW(int8_t), HUSSAR_CAST_ROW(Bool)}};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
