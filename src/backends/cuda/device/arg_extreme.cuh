// ArgMax and ArgMin along one axis.
//
// Defined before: INPUT_TYPE; VALUE, what elements are compared as; MAXIMUM, 1 for ArgMax; LAST, 1 where the last of
// equals wins; GROUP, the threads of one output: 1, 32 or 256.
#pragma once

struct ArgExtreme {
  long long outputs, length, inner;
  long long input_pitch, output_pitch;  // where inner is 1: from output to output
  const INPUT_TYPE* input;
  long long* output;
};

struct Champion {
  VALUE value;
  long long at;
  // NaN beats nothing, and nothing beats a NaN that comes first.
  __device__ __forceinline__ void meet(VALUE other, long long other_at) {
    const bool better = MAXIMUM ? other > value : other < value;
    const bool later = LAST ? other_at > at : other_at < at;
    if (!better && !(other == value && later)) return;
    value = other;
    at = other_at;
  }
};

extern "C" __global__ void __launch_bounds__(256) arg_extreme(const __grid_constant__ ArgExtreme work) {
  begin_kernel();
  constexpr int kOutputs = 256 / GROUP;
  const long long step = static_cast<long long>(gridDim.x) * kOutputs;
  for (long long r = static_cast<long long>(blockIdx.x) * kOutputs + threadIdx.x / GROUP; r < work.outputs; r += step) {
    const INPUT_TYPE* x = work.input;
    x += work.inner == 1 ? r * work.input_pitch : r / work.inner * work.length * work.inner + r % work.inner;
    Champion best{read<VALUE>(x[0]), 0};
    for (long long i = threadIdx.x % GROUP; i < work.length; i += GROUP) best.meet(read<VALUE>(x[i * work.inner]), i);
    if constexpr (GROUP > 1) {
#pragma unroll
      for (int lanes = 16; lanes > 0; lanes /= 2) {
        const VALUE value = __shfl_xor_sync(0xffffffffU, best.value, lanes);
        const long long at = __shfl_xor_sync(0xffffffffU, best.at, lanes);
        best.meet(value, at);
      }
    }
    if constexpr (GROUP > 32) {
      __shared__ VALUE values[8];
      __shared__ long long places[8];
      if (threadIdx.x % 32 == 0) {
        values[threadIdx.x / 32] = best.value;
        places[threadIdx.x / 32] = best.at;
      }
      __syncthreads();
      for (int i = 0; i < 8; ++i) best.meet(values[i], places[i]);
      __syncthreads();
    }
    if (threadIdx.x % GROUP == 0) work.output[r * work.output_pitch] = best.at;
  }
}
