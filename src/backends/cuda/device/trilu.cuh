// Trilu: zeros below, or above, a diagonal of each matrix.
//
// Defined before: WORD; UPPER, 1 where what is above stays.
#pragma once

struct Trilu {
  long long elements, rows, columns;
  const WORD* input;
  const long long* diagonal;  // null: the main one
  WORD* output;
};

extern "C" __global__ void __launch_bounds__(256) trilu(const __grid_constant__ Trilu work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  const long long diagonal = work.diagonal != nullptr ? *work.diagonal : 0;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < work.elements; i += step) {
    const long long offset = i % work.columns - i / work.columns % work.rows;
    WORD word = {};
    if (UPPER ? offset >= diagonal : offset <= diagonal) word = work.input[i];
    work.output[i] = word;
  }
}
