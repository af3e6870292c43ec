// CUDA C++ for a compiler that makes code for CPUs: stands before each text that the emulated device compiles. No
// header of the standard library, so that compiling takes little time.
#pragma once
#include "emulated_machine.h"

#define HUSSAR_EMULATED 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __shared__ static
#define __constant__ static
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
#define __restrict__

extern "C" {
float expf(float), exp2f(float), expm1f(float), logf(float), log2f(float), log1pf(float), sqrtf(float), cbrtf(float);
float powf(float, float), fmodf(float, float), fminf(float, float), fmaxf(float, float), fmaf(float, float, float);
float fabsf(float), floorf(float), ceilf(float), rintf(float), truncf(float), roundf(float), copysignf(float, float);
float sinf(float), cosf(float), tanf(float), asinf(float), acosf(float), atanf(float), atan2f(float, float);
float sinhf(float), coshf(float), tanhf(float), asinhf(float), acoshf(float), atanhf(float), erff(float);
double floor(double), ceil(double), fabs(double);
void* memcpy(void*, const void*, unsigned long);
void* memset(void*, int, unsigned long);

alignas(64) hussar_emulation::Machine hussar_machine;
}
// Of the blocks that run at once, one behind the other.
#ifndef HUSSAR_BLOCKS
#define HUSSAR_BLOCKS 1
#endif
constexpr unsigned kHussarSharedBytes = 232448;
alignas(1024) static unsigned char hussar_shared[HUSSAR_BLOCKS * kHussarSharedBytes];
inline unsigned char* hussar_own_shared() { return hussar_shared + hussar_machine.rank * kHussarSharedBytes; }

#define threadIdx hussar_machine.thread
#define blockIdx hussar_machine.block
#define blockDim hussar_machine.threads
#define gridDim hussar_machine.blocks

inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
// Byte i of the result is byte (selector >> 4i & 7) of the eight bytes of y and x.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long both = static_cast<unsigned long long>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) result |= static_cast<unsigned>(both >> (selector >> 4 * i & 7) * 8 & 0xff) << 8 * i;
  return result;
}
inline unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
inline int __float2int_rn(float x) { return static_cast<int>(rintf(x)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(unsigned x) { return x == 0 ? 32 : __builtin_clz(x); }
inline int __ffs(unsigned x) { return __builtin_ffs(static_cast<int>(x)); }
template <class T>
inline T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
inline T max(T a, T b) {
  return a < b ? b : a;
}
inline float __saturatef(float x) { return x > 0 ? min(x, 1.0f) : 0.0f; }
template <class T>
inline T __ldg(const T* from) {
  return *from;
}

// ---- waiting for others

inline void __syncthreads() { hussar_machine.wait(hussar_emulation::kBlock); }
inline void __syncwarp(unsigned = 0xffffffffU) { hussar_machine.wait(hussar_emulation::kWarp); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline unsigned __activemask() { return 0xffffffffU; }

// What lane `from` of the warp gives.
template <class T>
inline T hussar_shuffle(T value, unsigned from) {
  static_assert(sizeof(T) <= 8);
  const unsigned thread = hussar_machine.number;
  memcpy(&hussar_machine.shown[thread], &value, sizeof(T));
  __syncwarp();
  memcpy(&value, &hussar_machine.shown[(thread & ~31U) | from], sizeof(T));
  __syncwarp();  // until all have read
  return value;
}
template <class T>
inline T __shfl_sync(unsigned, T value, int lane, int width = 32) {
  const unsigned own = threadIdx.x & 31U, group = own & ~(static_cast<unsigned>(width) - 1);
  return hussar_shuffle(value, group | (static_cast<unsigned>(lane) & (static_cast<unsigned>(width) - 1)));
}
template <class T>
inline T __shfl_xor_sync(unsigned, T value, int mask, int width = 32) {
  const unsigned own = threadIdx.x & 31U, lane = own ^ static_cast<unsigned>(mask);
  return hussar_shuffle(value, lane / width > own / width ? own : lane);
}
template <class T>
inline T __shfl_down_sync(unsigned, T value, unsigned delta, int width = 32) {
  const unsigned own = threadIdx.x & 31U, lane = own + delta;
  return hussar_shuffle(value, lane / width != own / width ? own : lane);
}
template <class T>
inline T __shfl_up_sync(unsigned, T value, unsigned delta, int width = 32) {
  const unsigned own = threadIdx.x & 31U, lane = own - delta;
  return hussar_shuffle(value, delta > own || lane / width != own / width ? own : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32 && (threadIdx.x & ~31U) + lane < blockDim.x; ++lane) {
    if (hussar_shuffle(predicate, lane) != 0 && (mask >> lane & 1U) != 0) votes |= 1U << lane;
  }
  return votes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

// ---- one thread at a time runs, so that nothing comes in between

template <class T>
inline T hussar_exchange(T* at, T value) {
  const T old = *at;
  *at = value;
  return old;
}
template <class T>
inline T atomicAdd(T* at, T value) {
  return hussar_exchange(at, static_cast<T>(*at + value));
}
template <class T>
inline T atomicMax(T* at, T value) {
  return hussar_exchange(at, max(*at, value));
}
template <class T>
inline T atomicMin(T* at, T value) {
  return hussar_exchange(at, min(*at, value));
}
template <class T>
inline T atomicExch(T* at, T value) {
  return hussar_exchange(at, value);
}
template <class T>
inline T atomicCAS(T* at, T expected, T value) {
  return hussar_exchange(at, *at == expected ? value : *at);
}

// ---- entries

template <int... indices>
struct HussarList {};
template <int count, int... indices>
struct HussarIndices : HussarIndices<count - 1, count - 1, indices...> {};
template <int... indices>
struct HussarIndices<0, indices...> {
  using List = HussarList<indices...>;
};
template <class... Arguments, int... indices>
inline void hussar_call(void (*kernel)(Arguments...), void** arguments, HussarList<indices...>) {
  kernel(*static_cast<Arguments*>(arguments[indices])...);
}
template <class... Arguments>
inline void hussar_call(void (*kernel)(Arguments...), void** arguments) {
  hussar_call(kernel, arguments, typename HussarIndices<sizeof...(Arguments)>::List());
}
template <class... Arguments>
constexpr unsigned hussar_count(void (*)(Arguments...)) {
  return sizeof...(Arguments);
}
template <class... Arguments>
inline const unsigned* hussar_bytes(void (*)(Arguments...)) {
  static const unsigned bytes[] = {sizeof(Arguments)..., 0};
  return bytes;
}
// All other names stay inside: another text may have them, too.
#define HUSSAR_VISIBLE extern "C" __attribute__((visibility("default")))
#define HUSSAR_ENTRY(kernel) HUSSAR_ENTRY_OF(kernel)  // whose name may be a macro
#define HUSSAR_ENTRY_OF(kernel)                                                                      \
  static void hussar_call_##kernel(void** arguments) { hussar_call(kernel, arguments); }             \
  HUSSAR_VISIBLE const hussar_emulation::Entry hussar_entry_##kernel;                                \
  const hussar_emulation::Entry hussar_entry_##kernel = {hussar_call_##kernel, hussar_bytes(kernel), \
                                                         hussar_count(kernel), &hussar_machine};
