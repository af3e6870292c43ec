// Rows of a table of bytes, each with a scale of its own, as numbers: (byte - 128) * scale. An index out of range,
// counted from either end, gives zeros.
//
// Defined before: INDEX_TYPE, OUTPUT_TYPE, VECTOR.
#pragma once

struct GatherBytes {
  long long units;         // groups of VECTOR elements of the output
  long long rows, groups;  // of the table; groups of a row
  const unsigned char* table;
  const float* scales;
  const INDEX_TYPE* indices;
  OUTPUT_TYPE* output;
};

extern "C" __global__ void __launch_bounds__(256) gather_bytes(const __grid_constant__ GatherBytes work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long unit = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; unit < work.units;
       unit += step) {
    long long row = work.indices[unit / work.groups];
    if (row < 0) row += work.rows;
    float value[VECTOR] = {};
    if (row >= 0 && row < work.rows) {
      load(work.table + (row * work.groups + unit % work.groups) * VECTOR, value);
      const float scale = work.scales[row];
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) value[i] = (value[i] - 128.0f) * scale;
    }
    store(work.output + unit * VECTOR, value);
  }
}
