// Rows of numbers as signed bytes with one scale each (ops/hussar_quantize_rows.cpp), behind rows.cuh.
#pragma once

// The largest magnitude of a row so far, as the bits of a float: of those without a sign larger ones have larger bits,
// and NaN has the largest.
__device__ __forceinline__ unsigned larger_magnitude(unsigned largest, float x) {
  return max(largest, __float_as_uint(x) & 0x7fffffffU);
}

// What makes bytes of the row's numbers, and what these stand for. All threads of the row call it.
struct RowScale {
  float scale, inverse;
};
__device__ __forceinline__ RowScale row_scale(unsigned largest) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) largest = max(largest, __shfl_xor_sync(0xffffffffU, largest, lanes));
  const float bits = combine_warps(__uint_as_float(largest), [](float a, float b) {
    return __uint_as_float(max(__float_as_uint(a), __float_as_uint(b)));
  });
  const unsigned of_row = __float_as_uint(bits);
  if (of_row < ROW_LEAST) return {0.0f, 0.0f};
  if (of_row > ROW_MOST) return {__uint_as_float(0x7fc00000U), 0.0f};
  // The quotient by 127, rounded as it should be (tried for every float): a second division would call a function, for
  // which registers are saved.
  constexpr float kReciprocal = 1.0f / 127.0f;
  const float near = bits * kReciprocal;
  return {fmaf(fmaf(-127.0f, near, bits), kReciprocal, near), 127.0f / bits};
}

// The integer nearest to x * inverse, in the last bits of a sum: in two's complement, and the product is not rounded
// before.
__device__ __forceinline__ unsigned row_byte(float x, const RowScale& scale) {
  return scale.inverse == 0.0f ? 0U : __float_as_uint(fmaf(x, scale.inverse, 12582912.0f));
}

template <int N>
__device__ __forceinline__ void store_row_bytes(signed char* to, const float (&from)[N], const RowScale& scale) {
  if constexpr (N % 4 == 0) {
    Pack<N / 4, unsigned> pack;
#pragma unroll
    for (int i = 0; i < N / 4; ++i) {
      const unsigned low = __byte_perm(row_byte(from[4 * i], scale), row_byte(from[4 * i + 1], scale), 0x0040);
      const unsigned high = __byte_perm(row_byte(from[4 * i + 2], scale), row_byte(from[4 * i + 3], scale), 0x0040);
      pack.values[i] = __byte_perm(low, high, 0x5410);
    }
    *reinterpret_cast<Pack<N / 4, unsigned>*>(to) = pack;
  } else {
    Pack<N, signed char> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.values[i] = static_cast<signed char>(row_byte(from[i], scale));
    *reinterpret_cast<Pack<N, signed char>*>(to) = pack;
  }
}
