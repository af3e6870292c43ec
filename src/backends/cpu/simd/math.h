// Elementary functions on Vec, for *.simd.cpp files only.
//
// Accuracy against the exact value: relative error below 1e-6 for exp, log, tanh, erf, sigmoid, silu, softplus, mish,
// gelu_tanh and expm1_nonpositive on their whole range; gelu_erf 3e-7 * max(|x|, |gelu|) because 1 + erf(x) cancels
// for negative x. NaN gives NaN; infinities give the limit of the function (gelu(-inf) is 0, not NaN); results below
// the normal range may be 0. The polynomial and rational coefficients are minimax fits of the relative error (Lawson
// iteration) on the interval named beside them.
#pragma once
#include <float.h>

#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

constexpr float kLog2E = 1.44269504f;
// ln(2) in two parts; the first has 9 significant bits, so that n * kLn2High is exact for every exponent n.
constexpr float kLn2High = 0.693359375f;
constexpr float kLn2Low = -2.12194440e-4f;

HUSSAR_INLINE Vec power_of_two(IVec n) { return from_bits(shift_left<23>(n + iset(127))); }

// a * 2^n for integral n in [-150, 128], rounded once into the denormal range.
HUSSAR_INLINE Vec scale_by_power_of_two(Vec a, Vec n) {
#if defined(__AVX512F__)
  return {_mm512_scalef_ps(a.v, n.v)};
#else
  const IVec whole = to_int(n);
  const IVec half = shift_right<1>(whole);
  return a * power_of_two(half) * power_of_two(whole - half);
#endif
}

// x = n ln(2) + r with |r| <= ln(2)/2; gives n and exp(r) - 1.
HUSSAR_INLINE Vec exp_reduced_minus_one(Vec x, Vec& n) {
  n = round(x * set(kLog2E));
  Vec r = fma(n, set(-kLn2High), x);
  r = fma(n, set(-kLn2Low), r);
  Vec p = set(0.0013814536f);  // (exp(r) - 1 - r) / r^2 on [-0.3468, 0.3468]: 3.1e-9
  p = fma(p, r, set(0.008368745598f));
  p = fma(p, r, set(0.04166839088f));
  p = fma(p, r, set(0.1666652039f));
  p = fma(p, r, set(0.4999999343f));
  return fma(p, r * r, r);
}

HUSSAR_INLINE Vec exp(Vec x) {
  x = clamp(x, set(-104.0f), set(89.0f));  // beyond: 0 and infinity
  Vec n;
  const Vec p = exp_reduced_minus_one(x, n);
  return scale_by_power_of_two(p + set(1.0f), n);
}

// exp(x) - 1 for x <= 0 without cancellation; positive x counts as 0.
HUSSAR_INLINE Vec expm1_nonpositive(Vec x) {
  x = clamp(x, set(-30.0f), set(0.0f));
  Vec n;
  const Vec p = exp_reduced_minus_one(x, n);
  const Vec scale = power_of_two(to_int(n));
  return select(is_nan(x), x, fma(p, scale, scale - set(1.0f)));
}

// x = mantissa * 2^exponent with mantissa in [0.75, 1.5), for finite x > 0 including denormals.
HUSSAR_INLINE Vec split_exponent(Vec x, Vec& mantissa) {
#if defined(__AVX512F__)
  mantissa = {_mm512_getmant_ps(x.v, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src)};
  return Vec{_mm512_getexp_ps(x.v)} - Vec{_mm512_getexp_ps(mantissa.v)};
#else
  const Mask denormal = x < set(FLT_MIN);
  x = select(denormal, x * set(8388608.0f), x);
  const IVec exponent = shift_right<23>(bits(x) - iset(0x3f400000));
  mantissa = from_bits(bits(x) - shift_left<23>(exponent));
  return to_float(exponent) - select(denormal, set(23.0f), set(0.0f));
#endif
}

// log(m) with f = m - 1, s = f / (2 + f): f - (f^2/2 - s * (f^2/2 + R)), R = 2 s^2 (1/3 + s^2/5 + s^4/7 + ...).
HUSSAR_INLINE Vec log(Vec x) {
  Vec mantissa;
  const Vec exponent = split_exponent(x, mantissa);
  const Vec f = mantissa - set(1.0f);
  const Vec s = f / (f + set(2.0f));
  const Vec z = s * s;
  Vec rest = set(2.0f / 11.0f);
  rest = fma(rest, z, set(2.0f / 9.0f));
  rest = fma(rest, z, set(2.0f / 7.0f));
  rest = fma(rest, z, set(2.0f / 5.0f));
  rest = fma(rest, z, set(2.0f / 3.0f));
  const Vec half_square = set(0.5f) * f * f;
  const Vec low = fma(s, fma(rest, z, half_square), exponent * set(kLn2Low));
  Vec result = fma(exponent, set(kLn2High), f - (half_square - low));
  result = select(set(FLT_MAX) < x, x, result);
  result = select(x == set(0.0f), set(-INFINITY), result);
  result = select(x < set(0.0f), set(NAN), result);
  return select(is_nan(x), x, result);
}

// log(1 + u) for u >= 0, exact in the relative sense for small u.
HUSSAR_INLINE Vec log1p_nonnegative(Vec u) {
  const Vec w = u + set(1.0f);
  const Vec lost = u - (w - set(1.0f));
  return log(w) + lost / w;
}

HUSSAR_INLINE Vec tanh(Vec x) {
  x = clamp(x, set(-9.02f), set(9.02f));
  const Vec t = x * x;
  Vec p = set(1.332073838e-8f);  // tanh(x) / x as a function of x^2 on [0, 9.02^2]: 2.1e-8
  p = fma(p, t, set(2.058485039e-5f));
  p = fma(p, t, set(0.003494125198f));
  p = fma(p, t, set(0.1337979681f));
  p = fma(p, t, set(0.9999999792f));
  Vec q = set(7.762750306e-7f);
  q = fma(q, t, set(0.000328323579f));
  q = fma(q, t, set(0.02587142589f));
  q = fma(q, t, set(0.4671311217f));
  q = fma(q, t, set(1.0f));
  return clamp(x * p / q, set(-1.0f), set(1.0f));
}

HUSSAR_INLINE Vec erf(Vec x) {
  x = clamp(x, set(-3.925f), set(3.925f));
  const Vec t = x * x;
  Vec p = set(2.046027101e-6f);  // erf(x) / x as a function of x^2 on [0, 3.925^2]: 1.9e-8
  p = fma(p, t, set(0.0002848181249f));
  p = fma(p, t, set(0.003771836797f));
  p = fma(p, t, set(0.05276709528f));
  p = fma(p, t, set(0.1905784289f));
  p = fma(p, t, set(1.128379146f));
  Vec q = set(3.804643287e-5f);
  q = fma(q, t, set(0.00116366671f));
  q = fma(q, t, set(0.01498178768f));
  q = fma(q, t, set(0.1141762238f));
  q = fma(q, t, set(0.5022284703f));
  q = fma(q, t, set(1.0f));
  return clamp(x * p / q, set(-1.0f), set(1.0f));
}

// x / (1 + exp(-slope * x)); sigmoid-weighted units. Finite at -infinity, where the quotient of limits would be NaN.
HUSSAR_INLINE Vec sigmoid_weighted(Vec x, Vec argument) {
  return max_second(set(-FLT_MAX), x) / (set(1.0f) + exp(neg(argument)));
}

HUSSAR_INLINE Vec hard_swish(Vec x) { return x * clamp(fma(x, set(1.0f / 6.0f), set(0.5f)), set(0.0f), set(1.0f)); }
HUSSAR_INLINE Vec hard_swish(Vec x, Vec scale, Vec shift) { return fma(hard_swish(x), scale, shift); }
HUSSAR_INLINE Vec sigmoid(Vec x) { return set(1.0f) / (set(1.0f) + exp(neg(x))); }
HUSSAR_INLINE Vec silu(Vec x) { return sigmoid_weighted(x, x); }

HUSSAR_INLINE Vec gelu_erf(Vec x) {
  x = max_second(set(-FLT_MAX), x);
  const Vec half = set(0.5f) * x;
  return fma(half, erf(x * set(0.70710678f)), half);
}

// x/2 (1 + tanh(z)) = x / (1 + exp(-2 z)), z = sqrt(2/pi) (x + 0.044715 x^3).
HUSSAR_INLINE Vec gelu_tanh(Vec x) {
  const Vec cubic = fma(x * x, set(2.0f * 0.79788456f * 0.044715f), set(2.0f * 0.79788456f));
  return sigmoid_weighted(x, x * cubic);
}

// log(1 + exp(x))
HUSSAR_INLINE Vec softplus(Vec x) { return max_second(set(0.0f), x) + log1p_nonnegative(exp(neg(abs(x)))); }

// x tanh(softplus(x)) = x n / (n + 2) with n = e (e + 2), e = exp(x); the ratio is 1 from x = 20 on.
HUSSAR_INLINE Vec mish(Vec x) {
  const Vec e = exp(min_second(set(20.0f), x));
  const Vec n = e * (e + set(2.0f));
  return max_second(set(-FLT_MAX), x) * (n / (n + set(2.0f)));
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
