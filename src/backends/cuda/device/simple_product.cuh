// Y[z][r][c] = epilogue(sum over i of X(z, r, i) * W(z, c, i)) for operands that lie in any way: a block of 256 threads
// computes 64 x 64 of Y from tiles in shared memory. What the fast products do not take.
//
// Defined before: X_TYPE, W_TYPE, Y_TYPE; SUM_TYPE, float, or int for sums of integers; the functions
//   x_at(const Operands&, int z, long long row, long long i) and w_at(const Operands&, int z, long long column, long long i)
// whose results are SUM_TYPE, that of no element where there is none; y_row(const Operands&, int z, long long row) and
// y_column(const Operands&, int z, long long column), the place in Y; `struct Operands` with y_pitch; and the epilogue.
#pragma once

constexpr int kTile = 64, kDepth = 16;

__device__ __forceinline__ float add_product(float x, float w, float sum) { return fmaf(x, w, sum); }
__device__ __forceinline__ int add_product(int x, int w, int sum) { return x * w + sum; }

struct SimpleProduct {
  long long m, n, k;
};

extern "C" __global__ void __launch_bounds__(256)
    simple_product(Y_TYPE* y, const __grid_constant__ SimpleProduct sizes, const __grid_constant__ Operands operands,
                   const __grid_constant__ EpilogueOperands fused) {
  begin_kernel();
  __shared__ SUM_TYPE x_tile[kDepth][kTile + 1];
  __shared__ SUM_TYPE w_tile[kDepth][kTile + 1];
  const int z = blockIdx.z;
  const long long first_row = static_cast<long long>(blockIdx.x) * kTile;
  const long long first_column = static_cast<long long>(blockIdx.y) * kTile;
  const int thread = threadIdx.x;
  SUM_TYPE sums[4][4] = {};
  for (long long depth = 0; depth < sizes.k; depth += kDepth) {
#pragma unroll
    for (int i = 0; i < kTile * kDepth / 256; ++i) {
      const int at = thread + 256 * i;
      const int step = at % kDepth, line = at / kDepth;
      const bool inside = depth + step < sizes.k;
      x_tile[step][line] =
          inside && first_row + line < sizes.m ? x_at(operands, z, first_row + line, depth + step) : SUM_TYPE(0);
      w_tile[step][line] =
          inside && first_column + line < sizes.n ? w_at(operands, z, first_column + line, depth + step) : SUM_TYPE(0);
    }
    __syncthreads();
#pragma unroll
    for (int step = 0; step < kDepth; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          sums[i][j] = add_product(x_tile[step][thread / 16 + 16 * i], w_tile[step][thread % 16 + 16 * j], sums[i][j]);
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const long long row = first_row + thread / 16 + 16 * i;
      const long long column = first_column + thread % 16 + 16 * j;
      if (row >= sizes.m || column >= sizes.n) continue;
      const long long y_line = y_row(operands, z, row), y_place = y_column(operands, z, column);
      const SUM_TYPE sum[1] = {sums[i][j]};
      float value[1];
      SumMeaning<1> meaning;
      load_meaning(meaning, fused, static_cast<int>(y_place));
      real_sums(sum, value, meaning, row_meaning(fused, y_line));
      EpilogueInputs<1> inputs;
      load_inputs(inputs, fused, y_line, static_cast<int>(y_place), 0);
      epilogue_of(value, inputs, fused);
      store_finished(y + y_line * operands.y_pitch + y_place, value, fused);
    }
  }
}
