// Numbers in memory and in registers: kernels compute in float. `half` and `bfloat` are 16 bits without arithmetic.
// HUSSAR_EMULATED is defined where a compiler for CPUs reads these texts (tests/support/emulated_device.h).
#pragma once

struct half {
  unsigned short bits;
};
struct bfloat {
  unsigned short bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(half x) {
#ifdef HUSSAR_EMULATED
  return static_cast<float>(__builtin_bit_cast(_Float16, x.bits));
#else
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
#endif
}
__device__ __forceinline__ float to_float(bfloat x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ half from_float<half>(float x) {
#ifdef HUSSAR_EMULATED
  return {__builtin_bit_cast(unsigned short, static_cast<_Float16>(x))};
#else
  half y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#endif
}
template <>
__device__ __forceinline__ bfloat from_float<bfloat>(float x) {
  unsigned bits = __float_as_uint(x);
  // To nearest even; NaN keeps a bit of its payload.
  bits = x != x ? bits | 0x400000U : bits + 0x7fffU + (bits >> 16 & 1U);
  return {static_cast<unsigned short>(bits >> 16)};
}

// What kernels compute with (float, or long long for integers) from and to what lies in memory.
template <class C, class T>
__device__ __forceinline__ C read(T x) {
  return static_cast<C>(x);
}
template <>
__device__ __forceinline__ float read<float, half>(half x) {
  return to_float(x);
}
template <>
__device__ __forceinline__ float read<float, bfloat>(bfloat x) {
  return to_float(x);
}
template <class T, class C>
__device__ __forceinline__ T write(C x) {
  return static_cast<T>(x);
}
template <>
__device__ __forceinline__ half write<half, float>(float x) {
  return from_float<half>(x);
}
template <>
__device__ __forceinline__ bfloat write<bfloat, float>(float x) {
  return from_float<bfloat>(x);
}

#ifdef BYTE_RECIPROCAL
// What the kernel writes as bytes stands for (byte - BYTE_ZERO_POINT) / BYTE_RECIPROCAL, from BYTE_LOWEST to
// BYTE_HIGHEST; all of them floats.
struct quantized {
  unsigned char bits;
};
// The byte in the last bits of a word.
__device__ __forceinline__ unsigned byte_of(float x) {
  // In this order NaN gives the lowest. The last bits of the sum are the integer nearest to it.
  const float inside = fminf(fmaxf(x, BYTE_LOWEST), BYTE_HIGHEST);
  return __float_as_uint(fmaf(inside, BYTE_RECIPROCAL, BYTE_ZERO_POINT + 12582912.0f));
}
template <>
__device__ __forceinline__ quantized write<quantized, float>(float x) {
  return {static_cast<unsigned char>(byte_of(x))};
}
#endif

// N neighbours, aligned to all of them, or to 16 bytes: accesses of up to 16 bytes each.
template <int N, class T>
struct alignas(sizeof(T) * N > 16 ? 16 : sizeof(T) * N) Pack {
  T values[N];
};
template <int N, class C, class T>
__device__ __forceinline__ void load(const T* from, C (&to)[N]) {
  const Pack<N, T> pack = *reinterpret_cast<const Pack<N, T>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = read<C>(pack.values[i]);
}
// Bytes become the last bits of 2^23: a permutation and a subtraction each.
template <int N>
__device__ __forceinline__ void load(const unsigned char* from, float (&to)[N]) {
  if constexpr (N % 4 == 0) {
    const Pack<N / 4, unsigned> pack = *reinterpret_cast<const Pack<N / 4, unsigned>*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i)
      to[i] = __uint_as_float(__byte_perm(pack.values[i / 4], 0x4b000000U, 0x7440U + i % 4)) - 8388608.0f;
  } else {
    const Pack<N, unsigned char> pack = *reinterpret_cast<const Pack<N, unsigned char>*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = static_cast<float>(pack.values[i]);
  }
}
template <int N, class T, class C>
__device__ __forceinline__ void store(T* to, const C (&from)[N]) {
  Pack<N, T> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.values[i] = write<T>(from[i]);
  *reinterpret_cast<Pack<N, T>*>(to) = pack;
}
#ifdef BYTE_RECIPROCAL
// Four bytes by three permutations; masks and shifts would take the longer half of a product's epilogue.
template <int N>
__device__ __forceinline__ void store(quantized* to, const float (&from)[N]) {
  if constexpr (N % 4 == 0) {
    Pack<N / 4, unsigned> pack;
#pragma unroll
    for (int i = 0; i < N / 4; ++i) {
      const unsigned low = __byte_perm(byte_of(from[4 * i]), byte_of(from[4 * i + 1]), 0x0040);
      const unsigned high = __byte_perm(byte_of(from[4 * i + 2]), byte_of(from[4 * i + 3]), 0x0040);
      pack.values[i] = __byte_perm(low, high, 0x5410);
    }
    *reinterpret_cast<Pack<N / 4, unsigned>*>(to) = pack;
  } else {
    Pack<N, quantized> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.values[i] = write<quantized>(from[i]);
    *reinterpret_cast<Pack<N, quantized>*>(to) = pack;
  }
}
#endif
template <int N, class C, class T>
__device__ __forceinline__ void broadcast(const T* from, C (&to)[N]) {
  const C value = read<C>(*from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = value;
}
// The same without alignment.
template <int N, class C, class T>
__device__ __forceinline__ void load_each(const T* from, C (&to)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = read<C>(from[i]);
}

// Of `all` units of work, `of_row` for each row, those of the first *rows; null: all. Only after begin_kernel().
__device__ __forceinline__ long long units_of_rows(long long all, const int* rows, long long of_row) {
  return rows == nullptr ? all : min(all, max(0LL, *rows * of_row));
}

// The first statement of every kernel, as they are launched while those before them still run: lets the next one be
// launched likewise, and returns when all that earlier ones wrote can be read.
__device__ __forceinline__ void begin_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\ngriddepcontrol.wait;" ::: "memory");
#endif
}
