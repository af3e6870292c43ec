// Elementwise work over any number of tensors with any broadcasting.
//
// Defined before: RANK, VECTOR (elements of one thread along the innermost loop), INPUTS, OUTPUT_TYPE, and COMPUTE_TYPE
// of the result.
#pragma once

struct Elementwise {
  long long units;                  // elements / VECTOR
  long long dims[RANK];             // of the loops, outermost first; the last in units of VECTOR
  long long strides[INPUTS][RANK];  // in elements
  long long output_strides[RANK];
  const void* inputs[INPUTS];
  OUTPUT_TYPE* output;
  const int* rows;  // so many of them are needed, where units follow each other in the output; null: all
  long long row;    // elements of one
  ByteMeaning meaning;
};

// Generated: loads from the inputs at these offsets and computes.
__device__ __forceinline__ void compute(const Elementwise& work, const long long (&offsets)[INPUTS],
                                        COMPUTE_TYPE (&value)[VECTOR]);

extern "C" __global__ void __launch_bounds__(256) elementwise(const __grid_constant__ Elementwise work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  long long units = work.units;
  if (work.rows != nullptr) units = min(units, (max(0LL, *work.rows * work.row) + VECTOR - 1) / VECTOR);
  for (long long unit = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x; unit < units; unit += step) {
    long long offsets[INPUTS] = {};
    long long output = 0, rest = unit;
#pragma unroll
    for (int axis = RANK - 1; axis >= 0; --axis) {
      const long long at = axis == 0 ? rest : rest % work.dims[axis];
      if (axis > 0) rest /= work.dims[axis];
      output += at * work.output_strides[axis];
#pragma unroll
      for (int i = 0; i < INPUTS; ++i) offsets[i] += at * work.strides[i][axis];
    }
    COMPUTE_TYPE value[VECTOR];
    compute(work, offsets, value);
    store_results<VECTOR>(work.output + output, value, work.meaning);
  }
}
