// OneHot: values[1] at the index along a new axis, values[0] elsewhere. Indices may count from the end; those out of
// range select nothing.
//
// Defined before: WORD; INDEX_TYPE.
#pragma once

struct OneHot {
  long long elements, depth, inner;
  const INDEX_TYPE* indices;
  const WORD* values;
  WORD* output;
};

extern "C" __global__ void __launch_bounds__(256) one_hot(const __grid_constant__ OneHot work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < work.elements; i += step) {
    const long long at = i / work.inner % work.depth;
    long long index = work.indices[i / work.inner / work.depth * work.inner + i % work.inner];
    if (index < 0) index += work.depth;
    work.output[i] = work.values[index == at ? 1 : 0];
  }
}
