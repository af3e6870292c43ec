// Rows in another order; zeros where the index is no row (src/ops/hussar_gather_rows.cpp).
//
// Defined before: WORD, what is moved at once.
#pragma once

struct GatherRows {
  long long units;        // words of the output
  long long rows, inner;  // words of a row
  const WORD* data;
  const int* index;
  WORD* output;
  const int* needed;  // so many rows; null: all
};

extern "C" __global__ void __launch_bounds__(256) gather_rows(const __grid_constant__ GatherRows work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  const long long units = units_of_rows(work.units, work.needed, work.inner);
  for (long long unit = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; unit < units; unit += step) {
    const long long row = unit / work.inner, from = work.index[row];
    WORD word = {};
    if (from >= 0 && from < work.rows) word = work.data[from * work.inner + unit % work.inner];
    work.output[unit] = word;
  }
}
