// GatherND: the slices of the data that tuples of TUPLE indices name. ScatterND, where SCATTER is 1: puts slices of the
// updates there. A tuple with an index out of range gives zeros, or writes nothing.
//
// Defined before: TUPLE, WORD, INDEX_TYPE, SCATTER.
#pragma once

struct GatherNd {
  long long units, inner;                    // words; of a slice
  long long tuples_of_batch, batch_stride;   // batches share leading axes with the data
  long long lengths[TUPLE], strides[TUPLE];  // strides in words
  const WORD* from;                          // data, or updates
  const INDEX_TYPE* indices;
  WORD* output;
};

extern "C" __global__ void __launch_bounds__(256) gather_nd(const __grid_constant__ GatherNd work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long unit = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; unit < work.units; unit += step) {
    const long long tuple = unit / work.inner;
    long long offset = unit % work.inner + tuple / work.tuples_of_batch * work.batch_stride;
    bool is_inside = true;
#pragma unroll
    for (int k = 0; k < TUPLE; ++k) {
      long long index = work.indices[tuple * TUPLE + k];
      if (index < 0) index += work.lengths[k];
      is_inside = is_inside && index >= 0 && index < work.lengths[k];
      offset += index * work.strides[k];
    }
    if (SCATTER) {
      if (is_inside) work.output[offset] = work.from[unit];
    } else {
      WORD word = {};
      if (is_inside) word = work.from[offset];
      work.output[unit] = word;
    }
  }
}
