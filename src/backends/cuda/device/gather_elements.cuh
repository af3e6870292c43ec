// GatherElements: output[i][j] = data[indices[i][j]][j], and so on. ScatterElements, where SCATTER is 1: output[
// indices[i][j]][j] = updates[i][j]. An index out of range gives a zero, or writes nothing.
//
// Defined before: RANK, WORD, INDEX_TYPE, SCATTER.
#pragma once

struct GatherElements {
  long long units;  // indices
  long long length, axis_stride;
  long long dims[RANK], strides[RANK];  // of the indices; of what they point into, 0 for the axis
  const WORD* from;                     // data, or updates
  const INDEX_TYPE* indices;
  WORD* output;
};

extern "C" __global__ void __launch_bounds__(256) gather_elements(const __grid_constant__ GatherElements work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long unit = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; unit < work.units; unit += step) {
    long long offset = 0, rest = unit;
#pragma unroll
    for (int axis = RANK - 1; axis >= 0; --axis) {
      offset += rest % work.dims[axis] * work.strides[axis];
      rest /= work.dims[axis];
    }
    long long index = work.indices[unit];
    if (index < 0) index += work.length;
    const bool is_inside = index >= 0 && index < work.length;
    offset += index * work.axis_stride;
    if (SCATTER) {
      if (is_inside) work.output[offset] = work.from[unit];
    } else {
      WORD word = {};
      if (is_inside) word = work.from[offset];
      work.output[unit] = word;
    }
  }
}
