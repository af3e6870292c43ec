// LayerNormalization and RMSNormalization of a product's rows before they are written, for product_hopper.cuh with
// PRODUCT_NORM: the blocks of a cluster hold a row together, each kWidth neighbouring columns of it in every thread. A
// thread's numbers become a mean and squares of distances from it, and so do those of a warp, a block and the cluster
// in turn: nothing cancels, and every block has the same result.
//
// Defined before: NORM_SCALE_TYPE, NORM_BIAS_TYPE, NORM_NUMBERS_TYPE; NORM_CENTER, 1 where the mean is taken off; and
// of what there need not be NORM_BIAS, NORM_NUMBERS, NORM_PRODUCTS: 1 or 0.
#pragma once

// On the host: 4 x 8 bytes, then a float in 8 bytes.
struct NormOperands {
  const NORM_SCALE_TYPE* scale;
  const NORM_BIAS_TYPE* bias;
  NORM_NUMBERS_TYPE* numbers;   // the same as y, in another type
  NORM_NUMBERS_TYPE* products;  // what is normalized
  float epsilon;
};

// Of all rows of a tile, 8 bytes each. The memory of a block holds two barriers and then such lines: of each warp, of
// the blocks of the cluster in two turns, and one with what is taken off each row and what it is multiplied by.
constexpr int kNormLine = PRODUCT_BM * 8;
constexpr int kNormBlocks = 16 + 8 * kNormLine;
constexpr int kNormRows = kNormBlocks + 2 * PRODUCT_CLUSTER_N * kNormLine;

// Of equally many numbers each: their mean, and the sum of the squares of their distances from it.
struct Moments {
  float mean, squares;
};
__device__ __forceinline__ Moments joined(const Moments& a, const Moments& b, float numbers_of_each) {
  const float distance = a.mean - b.mean;
  return {0.5f * (a.mean + b.mean), a.squares + b.squares + distance * distance * (0.5f * numbers_of_each)};
}
template <int N>
__device__ __forceinline__ Moments moments_of(const float (&numbers)[N]) {
  Moments of = {0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < N; ++i) of.mean += numbers[i] * (1.0f / N);
#pragma unroll
  for (int i = 0; i < N; ++i) of.squares += (numbers[i] - of.mean) * (numbers[i] - of.mean);
  return of;
}
// At an address of shared memory.
__device__ __forceinline__ Moments moments_at(unsigned address) {
  Moments of;
  shared_load(address, of.mean, of.squares);
  return of;
}
// Of kCount that lie kNormLine apart.
template <int kCount>
__device__ __forceinline__ Moments joined(unsigned address, float numbers_of_each) {
  Moments parts[kCount], sum = {0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    parts[i] = moments_at(address + i * kNormLine);
    sum.mean += parts[i].mean;
  }
  if (kCount > 1) sum.mean /= static_cast<float>(kCount);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float distance = parts[i].mean - sum.mean;
    sum.squares += parts[i].squares + numbers_of_each * distance * distance;
  }
  return sum;
}

// Joins the moments of kCount rows over the lanes that differ in kLane and higher bits. Where rows are even in number
// each lane goes on with half of them: row i is then row `first` + i * `stride` of the thread's. Gives them to `put`.
template <int kCount, int kLane, int kRows, typename Put>
__device__ __forceinline__ void join_lanes(Moments (&rows)[kRows], float numbers_of_each, int first, int stride,
                                           Put put) {
  if constexpr (kLane == 32) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) put(first + i * stride, rows[i]);
  } else {
    constexpr bool kHalves = kCount % 2 == 0;
    constexpr int kLeft = kHalves ? kCount / 2 : kCount;
    const bool upper = (threadIdx.x & kLane) != 0;
#pragma unroll
    for (int i = 0; i < kLeft; ++i) {
      const Moments a = rows[kHalves ? 2 * i : i], b = rows[kHalves ? 2 * i + 1 : i];
      const Moments kept = upper ? b : a, given = upper ? a : b;
      const Moments taken = {__shfl_xor_sync(0xffffffffu, given.mean, kLane),
                             __shfl_xor_sync(0xffffffffu, given.squares, kLane)};
      rows[i] = joined(kept, taken, numbers_of_each);
    }
    join_lanes<kLeft, 2 * kLane>(rows, 2 * numbers_of_each, kHalves && upper ? first + stride : first,
                                 kHalves ? 2 * stride : stride, put);
  }
}

// What is worked out from a number behind it is not kept from before: there are no registers for that.
__device__ __forceinline__ void anew(int& number) {
#ifndef HUSSAR_EMULATED
  asm volatile("" : "+r"(number));
#endif
}

// Finishes and writes a thread's kGroups groups of kWidth neighbouring columns from `column` on, each of row
// first_row + row_of(group). `turn`: how many tiles the block has finished before. `release`: what is near is needed no
// more.
template <int kGroups, int kWidth, typename Take, typename RowOf, typename Near, typename Release>
__device__ __forceinline__ void norm_finish(ProductOutput* y, const ProductProblem& problem,
                                            const EpilogueOperands& operands, const NormOperands& norm, unsigned memory,
                                            int rank, unsigned turn, Take take, int first_row, RowOf row_of, int column,
                                            const Near& near, Release release) {
  const int n = product_n(problem), thread = static_cast<int>(threadIdx.x);
  float value[kGroups][kWidth];
  SumMeaning<kWidth> meaning;
  load_meaning(meaning, operands, column);
  // First all of them, so that operands of many groups are on their way at once.
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    ProductSum sum[kWidth];
    take(g, sum);
    real_sums(sum, value[g], meaning);
    epilogue_of(value[g], operands, min(first_row + row_of(g), problem.m - 1), column, near);
  }
  __syncwarp();
  release();
  // What registers are left for.
  constexpr int kTogether = kGroups * kWidth <= 128 ? 4 : NORM_PRODUCTS ? 1 : 2;
  static_assert(kGroups % kTogether == 0);
#pragma unroll
  for (int from = 0; from < kGroups; from += kTogether) {
    Moments moments[kTogether];
#pragma unroll
    for (int g = 0; g < kTogether; ++g) moments[g] = moments_of(value[from + g]);
    join_lanes<kTogether, 4>(moments, kWidth, from, 1, [&](int g, const Moments& of) {
      shared_store(memory + 16 + thread / 32 * kNormLine + row_of(g) * 8, of.mean, of.squares);
    });
  }
  float scale[kWidth], bias[kWidth];
  load(norm.scale + column, scale);
  if (NORM_BIAS) load(norm.bias + column, bias);
  threads_meet<1, 256>();
  if (thread < PRODUCT_BM) {
    const Moments of_block = joined<8>(memory + 16 + thread * 8, PRODUCT_BN / 8.0f);
    const unsigned slot = turn & 1u, full = memory + slot * 8;
    const unsigned blocks = memory + kNormBlocks + slot * (PRODUCT_CLUSTER_N * kNormLine) + thread * 8;
    if (thread == 0) barrier_expect(full, PRODUCT_CLUSTER_N * kNormLine);
#pragma unroll
    for (unsigned other = 0; other < PRODUCT_CLUSTER_N; ++other)
      cluster_send(blocks + rank * kNormLine, full, other, of_block.mean, of_block.squares);
    barrier_wait_cluster(full, turn >> 1 & 1u);
    const Moments all = joined<PRODUCT_CLUSTER_N>(blocks, PRODUCT_BN);
    const float square = all.squares / static_cast<float>(n) + (NORM_CENTER ? 0.0f : all.mean * all.mean);
    shared_store(memory + kNormRows + thread * 8, NORM_CENTER ? all.mean : 0.0f, 1.0f / sqrtf(square + norm.epsilon));
  }
  threads_meet<1, 256>();
  anew(first_row);
  const int pitch = static_cast<int>(problem.y_pitch);
  const long long first = first_row * problem.y_pitch + column;
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    const int row = row_of(g);
    const Moments of = moments_at(memory + kNormRows + row * 8);  // what is taken off, a factor
    if (first_row + row >= problem.m) continue;
    const long long at = first + row * pitch;
    if (NORM_PRODUCTS) store(norm.products + at, value[g]);
#pragma unroll
    for (int c = 0; c < kWidth; ++c) {
      value[g][c] = (value[g][c] - of.mean) * of.squares * scale[c];
      if (NORM_BIAS) value[g][c] += bias[c];
    }
    if (NORM_NUMBERS) store(norm.numbers + at, value[g]);
    store_neighbours(y + at, value[g]);
  }
}
