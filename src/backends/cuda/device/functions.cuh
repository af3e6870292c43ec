// The operations of fused programs (src/tensor/program.h) and of single operators. NaN in an operand gives NaN.
//
// Defined before: HALF_RESULTS, 1 for results that are rounded to halves or bytes; BYTE_RESULTS, 1 for bytes; FAST_GELU,
// 1 for all of these and for results of products in TF32.
#pragma once

__device__ __forceinline__ float f_min(float a, float b) { return a != a || a < b ? a : b; }
__device__ __forceinline__ float f_max(float a, float b) { return a != a || a > b ? a : b; }
__device__ __forceinline__ float f_clip(float a, float low, float high) { return f_min(f_max(a, low), high); }
#if FAST_GELU && defined(__CUDA_ARCH__)
// The hardware's tanh, whose error of 2^-11 is that of a half.
__device__ __forceinline__ float f_fast_tanh(float a) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(a));
  return y;
}
#endif
#if HALF_RESULTS && defined(__CUDA_ARCH__)
__device__ __forceinline__ float f_sigmoid(float a) { return 0.5f + 0.5f * f_fast_tanh(0.5f * a); }
#else
__device__ __forceinline__ float f_sigmoid(float a) { return 1.0f / (1.0f + __expf(-a)); }
#endif
// pow() of negative numbers to integer powers has a sign.
__device__ __forceinline__ float f_pow(float a, float b) { return powf(a, b); }
__device__ __forceinline__ float f_softplus(float a) { return f_max(a, 0.0f) + log1pf(expf(-fabsf(a))); }
#if FAST_GELU && defined(__CUDA_ARCH__)
__device__ __forceinline__ float f_gelu_of(float a, float argument) {
  const float half_a = 0.5f * a;
  return fmaf(half_a, f_fast_tanh(argument), half_a);
}
__device__ __forceinline__ float f_gelu_tanh(float a) {
  return f_gelu_of(a, a * fmaf(0.0356774081f, a * a, 0.79788456f));
}
__device__ __forceinline__ float f_gelu_erf(float a) {
#if BYTE_RESULTS
  return f_gelu_tanh(a);  // off by 5e-4 at most
#else
  // erf(a / sqrt(2)) as the tanh of a polynomial that was fitted to it: off by 2.5e-5 at most.
  const float u = fminf(a * a, 36.0f);
  return f_gelu_of(a, a * (0.797507923f + u * (0.0370056331f - 0.000351519832f * u)));
#endif
}
#else
__device__ __forceinline__ float f_gelu_erf(float a) { return 0.5f * a * (1.0f + erff(a * 0.70710678f)); }
__device__ __forceinline__ float f_gelu_tanh(float a) {
  return 0.5f * a * (1.0f + tanhf(0.79788456f * (a + 0.044715f * a * a * a)));
}
#endif
__device__ __forceinline__ float f_sign(float a) { return a != a ? a : a > 0 ? 1.0f : a < 0 ? -1.0f : 0.0f; }

// ---- Mod: with the sign of the divisor, and with that of the dividend

__device__ __forceinline__ float f_remainder(float a, float b) { return fmodf(a, b); }
__device__ __forceinline__ float f_mod(float a, float b) {
  const float rest = fmodf(a, b);
  return rest != 0.0f && (rest < 0.0f) != (b < 0.0f) ? rest + b : rest;
}
__device__ __forceinline__ long long i_remainder(long long a, long long b) { return b == 0 || b == -1 ? 0 : a % b; }
__device__ __forceinline__ long long i_mod(long long a, long long b) {
  const long long rest = i_remainder(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
__device__ __forceinline__ long long i_min(long long a, long long b) { return a < b ? a : b; }
__device__ __forceinline__ long long i_max(long long a, long long b) { return a > b ? a : b; }
