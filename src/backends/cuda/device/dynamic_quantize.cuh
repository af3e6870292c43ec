// DynamicQuantizeLinear in two kernels: the range of each part of the tensor, then the range of all parts, and bytes.
#pragma once

constexpr int kRangeThreads = 256;

struct DynamicQuantize {
  long long count;
  const float* x;
  unsigned char* y;
  float* scale;               // null: not wanted
  unsigned char* zero_point;  // null: not wanted
  float* ranges;              // the lowest and the highest of each part
  long long parts;
};

// Of all threads of the block; every one gets it. NaN is neither.
template <class Choose>
__device__ __forceinline__ float choose_of_block(float x, Choose choose) {
  __shared__ float chosen[kRangeThreads / 32];
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x = choose(x, __shfl_xor_sync(0xffffffffU, x, lanes));
  if (threadIdx.x % 32 == 0) chosen[threadIdx.x / 32] = x;
  __syncthreads();
  x = chosen[0];
#pragma unroll
  for (int i = 1; i < kRangeThreads / 32; ++i) x = choose(x, chosen[i]);
  __syncthreads();
  return x;
}
__device__ __forceinline__ float lowest_of_block(float x) {
  return choose_of_block(x, [](float a, float b) { return fminf(a, b); });
}
__device__ __forceinline__ float highest_of_block(float x) {
  return choose_of_block(x, [](float a, float b) { return fmaxf(a, b); });
}

// Calls visit(position, number of elements), VECTOR of them but for the last.
template <class Visit>
__device__ __forceinline__ void for_vectors(long long count, Visit visit) {
  const long long step = static_cast<long long>(gridDim.x) * kRangeThreads * VECTOR;
  for (long long at = (static_cast<long long>(blockIdx.x) * kRangeThreads + threadIdx.x) * VECTOR; at < count; at += step)
    visit(at, static_cast<int>(min(count - at, static_cast<long long>(VECTOR))));
}

extern "C" __global__ void __launch_bounds__(kRangeThreads) find_ranges(const __grid_constant__ DynamicQuantize work) {
  begin_kernel();
  // Zero is in every range.
  float lowest = 0.0f, highest = 0.0f;
  const auto take = [&](float x) {
    lowest = fminf(lowest, x);
    highest = fmaxf(highest, x);
  };
  for_vectors(work.count, [&](long long at, int count) {
    if (count < VECTOR) {
      for (int i = 0; i < count; ++i) take(work.x[at + i]);
      return;
    }
    float x[VECTOR];
    load(work.x + at, x);
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) take(x[i]);
  });
  lowest = lowest_of_block(lowest);
  highest = highest_of_block(highest);
  if (threadIdx.x != 0) return;
  work.ranges[2 * blockIdx.x] = lowest;
  work.ranges[2 * blockIdx.x + 1] = highest;
}

// As ops/quantize.h has it: the quotient is rounded, NaN gives 0.
__device__ __forceinline__ unsigned char byte_of(float x, float scale, float zero_point) {
  const float byte = rintf(x / scale) + zero_point;
  return static_cast<unsigned char>(byte > 0.0f ? fminf(byte, 255.0f) : 0.0f);
}

extern "C" __global__ void __launch_bounds__(kRangeThreads) quantize_tensor(const __grid_constant__ DynamicQuantize work) {
  begin_kernel();
  float lowest = 0.0f, highest = 0.0f;
  for (long long part = threadIdx.x; part < work.parts; part += kRangeThreads) {
    lowest = fminf(lowest, work.ranges[2 * part]);
    highest = fmaxf(highest, work.ranges[2 * part + 1]);
  }
  lowest = lowest_of_block(lowest);
  highest = highest_of_block(highest);
  const float scale = highest == lowest ? 1.0f : (highest - lowest) / 255.0f;
  const float zero = rintf(0.0f - lowest / scale);
  const float zero_point = zero > 0.0f ? fminf(zero, 255.0f) : 0.0f;
  for_vectors(work.count, [&](long long at, int count) {
    if (count < VECTOR) {
      for (int i = 0; i < count; ++i) work.y[at + i] = byte_of(work.x[at + i], scale, zero_point);
      return;
    }
    float x[VECTOR];
    load(work.x + at, x);
    Pack<VECTOR, unsigned char> bytes;
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) bytes.values[i] = byte_of(x[i], scale, zero_point);
    *reinterpret_cast<Pack<VECTOR, unsigned char>*>(work.y + at) = bytes;
  });
  if (blockIdx.x != 0 || threadIdx.x != 0) return;
  if (work.scale != nullptr) *work.scale = scale;
  if (work.zero_point != nullptr) *work.zero_point = static_cast<unsigned char>(zero_point);
}
