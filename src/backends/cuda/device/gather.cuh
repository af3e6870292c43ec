// Gather: slices of the data, along one axis, that indices name. An index out of range, counted from either end, gives
// zeros.
//
// Defined before: WORD, what is moved at once; INDEX_TYPE.
#pragma once

struct Gather {
  long long units;                 // words of the output
  long long length, count, inner;  // of the axis; indices; words of a slice
  const WORD* data;
  const INDEX_TYPE* indices;
  WORD* output;
};

extern "C" __global__ void __launch_bounds__(256) gather(const __grid_constant__ Gather work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long unit = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; unit < work.units; unit += step) {
    const long long slice = unit / work.inner, at = unit % work.inner;
    const long long outer = slice / work.count;
    long long index = work.indices[slice % work.count];
    if (index < 0) index += work.length;
    WORD word = {};
    if (index >= 0 && index < work.length) word = work.data[(outer * work.length + index) * work.inner + at];
    work.output[unit] = word;
  }
}
