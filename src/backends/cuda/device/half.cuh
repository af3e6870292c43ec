// Half precision without cuda_fp16.h: this text is compiled by NVRTC with no include path. A half is carried as its 16
// bits (unsigned short), two of them as one unsigned (the lower column in the lower half), eight as one 16-byte access.
#pragma once

__device__ __forceinline__ float half_to_float(unsigned short bits) {
#ifdef HUSSAR_EMULATED
  return static_cast<float>(__builtin_bit_cast(_Float16, bits));
#else
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
#endif
}

__device__ __forceinline__ unsigned short float_to_half(float value) {
#ifdef HUSSAR_EMULATED
  return __builtin_bit_cast(unsigned short, static_cast<_Float16>(value));
#else
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
#endif
}

__device__ __forceinline__ unsigned pack_halves(float low, float high) {
#ifdef HUSSAR_EMULATED
  return float_to_half(low) | static_cast<unsigned>(float_to_half(high)) << 16;
#else
  unsigned pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}

__device__ __forceinline__ void unpack_halves(unsigned pair, float& low, float& high) {
  low = half_to_float(static_cast<unsigned short>(pair & 0xffffu));
  high = half_to_float(static_cast<unsigned short>(pair >> 16));
}

__device__ __forceinline__ void unpack_eight_halves(uint4 words, float (&value)[8]) {
  unpack_halves(words.x, value[0], value[1]);
  unpack_halves(words.y, value[2], value[3]);
  unpack_halves(words.z, value[4], value[5]);
  unpack_halves(words.w, value[6], value[7]);
}

// Eight halves that an earlier kernel wrote.
__device__ __forceinline__ void load_halves(const unsigned short* from, float (&value)[8]) {
  unpack_eight_halves(*reinterpret_cast<const uint4*>(from), value);
}

// Eight halves that no kernel of the plan writes (bias, scales): the load may move above any wait and be shared.
__device__ __forceinline__ void load_constant_halves(const unsigned short* from, float (&value)[8]) {
  uint4 words;
  asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
      : "l"(from));
  unpack_eight_halves(words, value);
}

__device__ __forceinline__ void store_halves(unsigned short* to, const float (&value)[8]) {
  *reinterpret_cast<uint4*>(to) = make_uint4(pack_halves(value[0], value[1]), pack_halves(value[2], value[3]),
                                             pack_halves(value[4], value[5]), pack_halves(value[6], value[7]));
}

__device__ __forceinline__ void load_floats(const float* from, float (&value)[8]) {
  const float4 low = reinterpret_cast<const float4*>(from)[0];
  const float4 high = reinterpret_cast<const float4*>(from)[1];
  value[0] = low.x, value[1] = low.y, value[2] = low.z, value[3] = low.w;
  value[4] = high.x, value[5] = high.y, value[6] = high.z, value[7] = high.w;
}

__device__ __forceinline__ void store_floats(float* to, const float (&value)[8]) {
  reinterpret_cast<float4*>(to)[0] = make_float4(value[0], value[1], value[2], value[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(value[4], value[5], value[6], value[7]);
}
