// Rows of elements that lie side by side, each the work of GROUP threads: a warp of a block of 256, or all of a block
// of 128 or 256.
//
// Defined before: GROUP, 32, 128 or 256; VECTOR, elements of one access; HOLD, accesses per thread whose elements stay in registers, 0
// when rows are read again instead.
#pragma once

constexpr int kRowThreads = GROUP == 32 ? 256 : GROUP;
constexpr int kRowsOfBlock = kRowThreads / GROUP;

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffU, x, lanes);
  return x;
}
// NaN is no maximum.
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, lanes));
  return x;
}

// Of all threads of a row; every one gets it.
template <class Combine>
__device__ __forceinline__ float combine_warps(float x, Combine combine) {
  if constexpr (GROUP > 32) {
    __shared__ float parts[kRowThreads / 32];
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    x = parts[0];
#pragma unroll
    for (int i = 1; i < kRowThreads / 32; ++i) x = combine(x, parts[i]);
    __syncthreads();
  }
  return x;
}
__device__ __forceinline__ float row_sum(float x) {
  return combine_warps(warp_sum(x), [](float a, float b) { return a + b; });
}
__device__ __forceinline__ float row_max(float x) {
  return combine_warps(warp_max(x), [](float a, float b) { return fmaxf(a, b); });
}

// The elements of a row that are this thread's.
template <class T>
struct Row {
  const T* from;
  long long length;
  int thread = static_cast<int>(threadIdx.x) % GROUP;
  float held[HOLD > 0 ? HOLD : 1][VECTOR];

  // visit(position, values), in the same order each time.
  template <class Visit>
  __device__ __forceinline__ void visit_first(Visit visit) {
    go<true>(visit);
  }
  template <class Visit>
  __device__ __forceinline__ void visit_again(Visit visit) {
    go<false>(visit);
  }

 private:
  template <bool loads, class Visit>
  __device__ __forceinline__ void go(Visit visit) {
    if constexpr (HOLD > 0) {
#pragma unroll
      for (int i = 0; i < HOLD; ++i) {
        const long long at = (static_cast<long long>(i) * GROUP + thread) * VECTOR;
        if (at >= length) continue;
        if constexpr (loads) load(from + at, held[i]);
        visit(at, held[i]);
      }
    } else {
      for (long long at = static_cast<long long>(thread) * VECTOR; at < length; at += GROUP * VECTOR) {
        load(from + at, held[0]);
        visit(at, held[0]);
      }
    }
  }
};
