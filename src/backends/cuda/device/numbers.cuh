// Numbers in memory and in registers: kernels compute in float. `half` and `bfloat` are 16 bits without arithmetic.
// HUSSAR_EMULATED is defined where a compiler for CPUs reads these texts (tests/support/emulated_device.h).
#pragma once

struct half {
  unsigned short bits;
};
struct bfloat {
  unsigned short bits;
};

// FP8: a sign, four bits of exponent, three of mantissa; up to 448, and NaN. From sm_89 on.
struct float8 {
  unsigned char bits;
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
#ifdef HUSSAR_EMULATED
  unsigned bits = __float_as_uint(x);
  // To nearest even; NaN keeps a bit of its payload.
  bits = x != x ? bits | 0x400000U : bits + 0x7fffU + (bits >> 16 & 1U);
  return {static_cast<unsigned short>(bits >> 16)};
#else
  bfloat y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#endif
}
// Two in a word, the first in the lower half.
__device__ __forceinline__ unsigned bfloat_pair(float first, float second) {
#ifdef HUSSAR_EMULATED
  return from_float<bfloat>(first).bits | static_cast<unsigned>(from_float<bfloat>(second).bits) << 16;
#else
  unsigned pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#endif
}

// Two at a time, the first in the lower byte. What is larger than 448 becomes 448.
__device__ __forceinline__ unsigned short float8_pair(float first, float second) {
#ifdef HUSSAR_EMULATED
  const float numbers[2] = {first, second};
  unsigned pair = 0;
  for (int i = 0; i < 2; ++i) {
    const unsigned sign = __float_as_uint(numbers[i]) >> 24 & 0x80U, bits = __float_as_uint(numbers[i]) & 0x7fffffffU;
    // Below 2^-6 multiples of 2^-9; above, the seven bits behind the sign, rounded to even.
    const unsigned low = __float_as_uint(__uint_as_float(bits) * 512.0f + 12582912.0f) & 0xffU;
    const unsigned high = ((bits + 0x7ffffU + (bits >> 20 & 1U)) >> 20) - 960U;
    const unsigned number = bits < 0x3c800000U ? low : high < 0x7eU ? high : 0x7eU;
    pair |= (sign | (bits > 0x7f800000U ? 0x7fU : number)) << (8 * i);
  }
  return static_cast<unsigned short>(pair);
#else
  unsigned short pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(second), "f"(first));
  return pair;
#endif
}
__device__ __forceinline__ void floats_of(unsigned short pair, float& first, float& second) {
#ifdef HUSSAR_EMULATED
  float numbers[2];
  for (int i = 0; i < 2; ++i) {
    const unsigned byte = pair >> (8 * i) & 0xffU, bits = byte & 0x7fU;
    const float number = bits < 8 ? bits / 512.0f : __uint_as_float(bits == 0x7fU ? 0x7fc00000U : (bits + 960U) << 20);
    numbers[i] = byte > 0x7fU ? -number : number;
  }
  first = numbers[0], second = numbers[1];
#else
  unsigned halves;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(pair));
  first = to_float(half{static_cast<unsigned short>(halves)});
  second = to_float(half{static_cast<unsigned short>(halves >> 16)});
#endif
}
__device__ __forceinline__ float to_float(float8 x) {
  float number, nothing;
  floats_of(x.bits, number, nothing);
  return number;
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
template <>
__device__ __forceinline__ float read<float, float8>(float8 x) {
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
template <>
__device__ __forceinline__ float8 write<float8, float>(float x) {
  return {static_cast<unsigned char>(float8_pair(x, 0.0f))};
}

// What the bytes that a kernel writes stand for: (byte - zero point) / reciprocal; for FP8 without a zero point. A
// parameter, not constants of the code: the steps of a model, which differ in little else, share their code then, and
// find it in the caches. On the host: 2 x 4 bytes.
struct ByteMeaning {
  float reciprocal;
  float shift;  // kIntegers + the zero point
};
constexpr float kIntegers = 12582912.0f;  // 1.5 * 2^23: the last bits of floats around it are an integer

// The same of what sums of products become. Bounds are part of a multiply-add there: minimum and maximum would take the
// slower half of the arithmetic units. What lies halfway between two bytes may become either, which averages of bytes,
// say, often do. On the host: 2 x 4 bytes.
struct SumBytes {
  float reciprocal;  // of the scale; of 255 times the scale where bytes are integers
  float shift;       // the zero point / 255
};

#if WRITES_BYTES
struct quantized {
  unsigned char bits;
};
// The byte in the last bits of a word.
__device__ __forceinline__ unsigned byte_of(float x, const ByteMeaning& meaning) {
#if BYTE_FLOAT8
  return float8_pair(x * meaning.reciprocal, 0.0f) & 0xffU;
#else
  // The sum is rounded to an integer. In this order NaN gives the lowest.
  const float rounded = fmaf(x, meaning.reciprocal, meaning.shift);
  return __float_as_uint(fminf(fmaxf(rounded, kIntegers), kIntegers + 255.0f));
#endif
}
// As above, NaN gives the lowest.
__device__ __forceinline__ unsigned byte_of(float x, const SumBytes& meaning) {
#if BYTE_FLOAT8
  return float8_pair(x * meaning.reciprocal, 0.0f) & 0xffU;
#else
  return __float_as_uint(fmaf(__saturatef(fmaf(x, meaning.reciprocal, meaning.shift)), 255.0f, kIntegers));
#endif
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
// A byte that is read as 2^23 more: whoever subtracts from it anyway spares the subtraction.
struct shifted_byte {
  unsigned char bits;
};
constexpr float kByteShift = 8388608.0f;
template <>
__device__ __forceinline__ float read<float, shifted_byte>(shifted_byte x) {
  return kByteShift + static_cast<float>(x.bits);
}
template <int N>
__device__ __forceinline__ void load(const shifted_byte* from, float (&to)[N]) {
  if constexpr (N % 4 == 0) {
    const Pack<N / 4, unsigned> pack = *reinterpret_cast<const Pack<N / 4, unsigned>*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i)
      to[i] = __uint_as_float(__byte_perm(pack.values[i / 4], 0x4b000000U, 0x7440U + i % 4));
  } else {
    const Pack<N, shifted_byte> pack = *reinterpret_cast<const Pack<N, shifted_byte>*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = read<float>(pack.values[i]);
  }
}
template <int N>
__device__ __forceinline__ void load(const float8* from, float (&to)[N]) {
  if constexpr (N % 2 == 0) {
    const Pack<N / 2, unsigned short> pack = *reinterpret_cast<const Pack<N / 2, unsigned short>*>(from);
#pragma unroll
    for (int i = 0; i < N / 2; ++i) floats_of(pack.values[i], to[2 * i], to[2 * i + 1]);
  } else {
    const Pack<N, float8> pack = *reinterpret_cast<const Pack<N, float8>*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = to_float(pack.values[i]);
  }
}
// Of what no kernel writes while this one runs: such loads may go ahead of stores.
template <int N, class C, class T>
__device__ __forceinline__ void load_constant(const T* from, C (&to)[N]) {
#ifndef HUSSAR_EMULATED
  constexpr int kBytes = static_cast<int>(sizeof(T)) * N;
  if constexpr (kBytes % 16 == 0) {
    uint4 words[kBytes / 16];
#pragma unroll
    for (int i = 0; i < kBytes / 16; ++i) words[i] = __ldg(reinterpret_cast<const uint4*>(from) + i);
    return load(reinterpret_cast<const T*>(words), to);
  } else if constexpr (kBytes == 8) {
    const uint2 words = __ldg(reinterpret_cast<const uint2*>(from));
    return load(reinterpret_cast<const T*>(&words), to);
  }
#endif
  load(from, to);
}
template <int N, class T, class C>
__device__ __forceinline__ void store(T* to, const C (&from)[N]) {
  Pack<N, T> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.values[i] = write<T>(from[i]);
  *reinterpret_cast<Pack<N, T>*>(to) = pack;
}
template <int N>
__device__ __forceinline__ void store(bfloat* to, const float (&from)[N]) {
  if constexpr (N % 2 == 0) {
    Pack<N / 2, unsigned> pack;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) pack.values[i] = bfloat_pair(from[2 * i], from[2 * i + 1]);
    *reinterpret_cast<Pack<N / 2, unsigned>*>(to) = pack;
  } else {
    Pack<N, bfloat> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.values[i] = write<bfloat>(from[i]);
    *reinterpret_cast<Pack<N, bfloat>*>(to) = pack;
  }
}
template <int N>
__device__ __forceinline__ void store(float8* to, const float (&from)[N]) {
  if constexpr (N % 2 == 0) {
    Pack<N / 2, unsigned short> pack;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) pack.values[i] = float8_pair(from[2 * i], from[2 * i + 1]);
    *reinterpret_cast<Pack<N / 2, unsigned short>*>(to) = pack;
  } else {
    Pack<N, float8> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.values[i] = write<float8>(from[i]);
    *reinterpret_cast<Pack<N, float8>*>(to) = pack;
  }
}
// Results of a kernel, which are bytes of that meaning or numbers as they are.
template <class T, class C>
__device__ __forceinline__ T write_result(C x, const ByteMeaning&) {
  return write<T>(x);
}
template <int N, class C, class T, class Meaning>
__device__ __forceinline__ void store_results(T* to, const C (&from)[N], const Meaning&) {
  store<N>(to, from);
}
#if WRITES_BYTES
template <>
__device__ __forceinline__ quantized write_result<quantized, float>(float x, const ByteMeaning& meaning) {
  return {static_cast<unsigned char>(byte_of(x, meaning))};
}
template <int N, class Meaning>
__device__ __forceinline__ void store_results(quantized* to, const float (&from)[N], const Meaning& meaning) {
#if BYTE_FLOAT8
  float scaled[N];
#pragma unroll
  for (int i = 0; i < N; ++i) scaled[i] = from[i] * meaning.reciprocal;
  store(reinterpret_cast<float8*>(to), scaled);
#else
  // Four bytes by three permutations; masks and shifts would take the longer half of a product's epilogue.
  if constexpr (N % 4 == 0) {
    Pack<N / 4, unsigned> pack;
#pragma unroll
    for (int i = 0; i < N / 4; ++i) {
      const unsigned low = __byte_perm(byte_of(from[4 * i], meaning), byte_of(from[4 * i + 1], meaning), 0x0040);
      const unsigned high = __byte_perm(byte_of(from[4 * i + 2], meaning), byte_of(from[4 * i + 3], meaning), 0x0040);
      pack.values[i] = __byte_perm(low, high, 0x5410);
    }
    *reinterpret_cast<Pack<N / 4, unsigned>*>(to) = pack;
  } else {
    Pack<N, quantized> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.values[i] = {static_cast<unsigned char>(byte_of(from[i], meaning))};
    *reinterpret_cast<Pack<N, quantized>*>(to) = pack;
  }
#endif
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

// As begin_kernel(), for a kernel behind which none may begin before it has ended.
__device__ __forceinline__ void begin_kernel_alone() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The first statement of every kernel, as they are launched while those before them still run: lets the next one be
// launched likewise, and returns when all that earlier ones wrote can be read.
__device__ __forceinline__ void begin_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\ngriddepcontrol.wait;" ::: "memory");
#endif
}
