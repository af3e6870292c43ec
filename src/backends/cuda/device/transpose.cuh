// Copies in which neighbours of the output lie apart in the input, and the other way round: tiles of 32 x 32 go through
// shared memory, so that both sides are read and written in a row.
//
// Defined before: WORD, REST, the loops around the two axes.
#pragma once

struct Transpose {
  long long tiles;          // all of them
  long long rows, columns;  // rows lie side by side in the input, columns in the output
  long long row_tiles, column_tiles;
  long long input_column, output_row;  // elements from one to the next
  long long dims[REST], input_strides[REST], output_strides[REST];
  const WORD* input;
  WORD* output;
};

extern "C" __global__ void __launch_bounds__(256) transpose(const __grid_constant__ Transpose work) {
  begin_kernel();
  __shared__ WORD tile[32][33];
  const int x = threadIdx.x % 32, y = threadIdx.x / 32;
  for (long long index = blockIdx.x; index < work.tiles; index += gridDim.x) {
    long long rest = index;
    const long long row = rest % work.row_tiles * 32;
    rest /= work.row_tiles;
    const long long column = rest % work.column_tiles * 32;
    rest /= work.column_tiles;
    long long from = 0, to = 0;
#pragma unroll
    for (int axis = REST - 1; axis >= 0; --axis) {
      const long long at = axis == 0 ? rest : rest % work.dims[axis];
      if (axis > 0) rest /= work.dims[axis];
      from += at * work.input_strides[axis];
      to += at * work.output_strides[axis];
    }
#pragma unroll
    for (int i = y; i < 32; i += 8) {
      if (row + x < work.rows && column + i < work.columns) {
        tile[i][x] = work.input[from + (column + i) * work.input_column + row + x];
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = y; i < 32; i += 8) {
      if (row + i < work.rows && column + x < work.columns) {
        work.output[to + (row + i) * work.output_row + column + x] = tile[x][i];
      }
    }
    __syncthreads();
  }
}
