// Reductions over any axes.
//
// Defined before: KEPT and REDUCED, the numbers of loops over axes that stay and that go; INPUT_TYPE, OUTPUT_TYPE; VALUE,
// the type of computation; INIT, MAP(x), COMBINE(a, b) and FINISH(total, divisor). Where elements that are reduced lie
// side by side (ROWS is 1), a warp or a block of GROUP threads makes one output, by VECTOR elements at a time. Else
// neighbouring threads make neighbouring outputs, SLICES of them the same one.
#pragma once

struct Reduce {
  long long outputs, count;  // how many elements make an output
  long long kept_dims[KEPT], kept_input[KEPT], kept_output[KEPT];
  long long dims[REDUCED], strides[REDUCED];
  const INPUT_TYPE* input;
  OUTPUT_TYPE* output;
  float divisor, unused;
  ByteMeaning meaning;
};

// Where an output lies, and where its elements begin.
struct ReducePlace {
  long long input = 0, output = 0;
  __device__ __forceinline__ ReducePlace(const Reduce& work, long long index) {
#pragma unroll
    for (int axis = KEPT - 1; axis >= 0; --axis) {
      const long long at = axis == 0 ? index : index % work.kept_dims[axis];
      if (axis > 0) index /= work.kept_dims[axis];
      input += at * work.kept_input[axis];
      output += at * work.kept_output[axis];
    }
  }
};

// From the first element of an output to another one of it.
__device__ __forceinline__ long long reduced_offset(const Reduce& work, unsigned index) {
  long long offset = 0;
#pragma unroll
  for (int axis = REDUCED - 1; axis >= 0; --axis) {
    const auto size = static_cast<unsigned>(work.dims[axis]);
    const unsigned at = axis == 0 ? index : index % size;
    if (axis > 0) index /= size;
    offset += at * work.strides[axis];
  }
  return offset;
}

#if ROWS

__device__ __forceinline__ void make_outputs(const Reduce& work) {
  constexpr int kOutputs = 256 / GROUP;
  const long long step = static_cast<long long>(gridDim.x) * kOutputs;
  const auto count = static_cast<unsigned>(work.count);
  for (long long r = static_cast<long long>(blockIdx.x) * kOutputs + threadIdx.x / GROUP; r < work.outputs; r += step) {
    const ReducePlace place(work, r);
    VALUE total = INIT;
#pragma unroll 4
    for (unsigned i = threadIdx.x % GROUP * VECTOR; i < count; i += GROUP * VECTOR) {
      VALUE x[VECTOR];
      load(work.input + place.input + reduced_offset(work, i), x);
#pragma unroll
      for (int k = 0; k < VECTOR; ++k) total = COMBINE(total, MAP(x[k]));
    }
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      const VALUE other = __shfl_xor_sync(0xffffffffU, total, lanes);
      total = COMBINE(total, other);
    }
    if constexpr (GROUP > 32) {
      __shared__ VALUE parts[8];
      if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = total;
      __syncthreads();
      total = parts[0];
      for (int i = 1; i < 8; ++i) total = COMBINE(total, parts[i]);
      __syncthreads();
    }
    if (threadIdx.x % GROUP == 0) work.output[place.output] = write_result<OUTPUT_TYPE>(FINISH(total, work.divisor), work.meaning);
  }
}

#else

__device__ __forceinline__ void make_outputs(const Reduce& work) {
  constexpr int kOutputs = 256 / SLICES;
  const long long step = static_cast<long long>(gridDim.x) * kOutputs;
  const auto count = static_cast<unsigned>(work.count);
  for (long long first = static_cast<long long>(blockIdx.x) * kOutputs; first < work.outputs; first += step) {
    const long long r = first + threadIdx.x % kOutputs;
    const unsigned slice = threadIdx.x / kOutputs;
    const ReducePlace place(work, r);
    VALUE total = INIT;
    if (r < work.outputs) {
#pragma unroll 4
      for (unsigned i = slice; i < count; i += SLICES) {
        const VALUE x = read<VALUE>(work.input[place.input + reduced_offset(work, i)]);
        total = COMBINE(total, MAP(x));
      }
    }
    if constexpr (SLICES > 1) {
      __shared__ VALUE parts[256];
      parts[threadIdx.x] = total;
      __syncthreads();
      for (int i = 1; slice == 0 && i < SLICES; ++i) total = COMBINE(total, parts[i * kOutputs + threadIdx.x]);
      __syncthreads();
    }
    if (slice == 0 && r < work.outputs) work.output[place.output] = write_result<OUTPUT_TYPE>(FINISH(total, work.divisor), work.meaning);
  }
}

#endif

extern "C" __global__ void __launch_bounds__(256) reduce(const __grid_constant__ Reduce work) {
  begin_kernel();
  make_outputs(work);
}
