// What every matrix product shares: Y[z][r][c] = epilogue(sum over i of X[z][r][i] * W[z][c][i]).
//
// The text in front of this header gives the macros
//   PRODUCT_INPUT             PRODUCT_FP16: X and W are halves. PRODUCT_BF16: BF16. PRODUCT_TF32: floats, multiplied
//                             as TF32. PRODUCT_FP32: floats. PRODUCT_INT8: X is unsigned bytes, W signed ones.
//                             PRODUCT_FP8: both are FP8 (sm_89 and later)
//   PRODUCT_OUTPUT            PRODUCT_HALVES, PRODUCT_BFLOATS, PRODUCT_FLOATS or PRODUCT_BYTES: what Y is. Sums are
//                             FP32, those of bytes (INT8) exact in 32 bits (k <= 65,536)
//   PRODUCT_X_SIGNED          1: the bytes of X are signed, too (PRODUCT_INT8). Default 0
//   PRODUCT_KERNEL            the kernel's name (default hussar_product)
//   PRODUCT_N, PRODUCT_K      sizes fixed when the plan is built; 0 (default): taken from ProductProblem
//   PRODUCT_Y_PITCH           likewise: elements from row to row of Y
//   PRODUCT_SPARSE            1: two of four weights are zero. Default 0
//   PRODUCT_RASTER            tiles of rows walked together before the next tile of columns (default 8): keeps what the
//                             tiles in flight share of X and W in the L2 cache
//   PRODUCT_EPILOGUE_BATCH    epilogue calls whose operands are loaded together, a batch ahead (default 4)
//   PRODUCT_SECOND            of product_hopper.cuh: 2: sums of two products, kept apart. Default 0
//   PRODUCT_DEPENDENT_LAUNCH  1: launched with programmatic stream serialization (sm_90 and later). X and operands are
//                             read, and Y is written, only after the kernels before have ended; W is read earlier and
//                             must not be written by them
// and, generated per fused region,
//   struct EpilogueOperands {...};
//   template <int N> struct SumMeaning {...};
//   template <int N> void load_meaning(SumMeaning<N>& meaning, const EpilogueOperands& operands, int column);
//   struct RowMeaning {...};
//   RowMeaning row_meaning(const EpilogueOperands& operands, long long row);
//   template <int N> void real_sums(const ProductSum (&sum)[N], float (&value)[N], const SumMeaning<N>& meaning,
//                                   const RowMeaning& of_row);
//   template <int N> struct EpilogueInputs {...};
//   template <int N, class Near> void load_inputs(EpilogueInputs<N>& inputs, const EpilogueOperands& operands,
//                                                 long long row, int column, const Near& near);
//   template <int N> void epilogue_of(float (&value)[N], const EpilogueInputs<N>& inputs,
//                                     const EpilogueOperands& operands);
//   template <int N, class T> void store_finished(T* to, const float (&value)[N], const EpilogueOperands& operands);
// real_sums says what numbers the sums of N neighbouring columns of one row stand for, which depends on the columns and,
// where scales are found when the model runs, on the row; epilogue_of changes these in place. N is 8, or 4 or 2 for sparse weights, and column % N == 0; row counts
// through the batch (z * m + r). With PRODUCT_SECOND 2 there are 2 * N sums: behind those of the first product those of
// the second. At the edges they may be called for the same place more than once: they must write
// nothing else. near.load(data, row, column, numbers) gives what lies there of the operand that the kernel brings near
// (PRODUCT_NEAR of product_hopper.cuh); other kernels bring none.
//
// n is a multiple of 8, and y_pitch * BM fits 31 bits; k is a multiple of 16 bytes; pitches and strides keep rows of X
// and W 16-byte aligned, and eight elements of Y.
#pragma once

#define PRODUCT_FP16 0
#define PRODUCT_TF32 1
#define PRODUCT_FP32 2
#define PRODUCT_INT8 3
#define PRODUCT_FP8 4
#define PRODUCT_BF16 5
#define PRODUCT_HALVES 0
#define PRODUCT_FLOATS 1
#define PRODUCT_BYTES 2
#define PRODUCT_BFLOATS 3

#ifndef PRODUCT_X_SIGNED
#define PRODUCT_X_SIGNED 0
#endif
#ifndef PRODUCT_KERNEL
#define PRODUCT_KERNEL hussar_product
#endif
#ifndef PRODUCT_N
#define PRODUCT_N 0
#endif
#ifndef PRODUCT_K
#define PRODUCT_K 0
#endif
#ifndef PRODUCT_Y_PITCH
#define PRODUCT_Y_PITCH 0
#endif
#ifndef PRODUCT_SPARSE
#define PRODUCT_SPARSE 0
#endif
#ifndef PRODUCT_RASTER
#define PRODUCT_RASTER 8
#endif
#ifndef PRODUCT_EPILOGUE_BATCH
#define PRODUCT_EPILOGUE_BATCH 4
#endif
#ifndef PRODUCT_SECOND
#define PRODUCT_SECOND 0
#endif
#ifndef PRODUCT_DEPENDENT_LAUNCH
#define PRODUCT_DEPENDENT_LAUNCH 0
#endif

// The same on the host: 6 x 8 bytes, then 4 x 4 bytes. Pitches (from row to row) and strides (from batch entry to batch
// entry) count elements.
struct ProductProblem {
  long long x_pitch, w_pitch, y_pitch;
  long long x_stride, w_stride, y_stride;
  int m, n, k, batch;
};

#if PRODUCT_INPUT == PRODUCT_FP16
using ProductInput = unsigned short;
#elif PRODUCT_INPUT == PRODUCT_BF16
using ProductInput = bfloat;
#elif PRODUCT_INPUT == PRODUCT_INT8 || PRODUCT_INPUT == PRODUCT_FP8
using ProductInput = unsigned char;
#else
using ProductInput = float;
#endif

// PRODUCT_SUM_OPERAND: a sum that inline assembly reads and writes.
#if PRODUCT_INPUT == PRODUCT_INT8
using ProductSum = int;
#define PRODUCT_SUM_OPERAND(sum) "+r"(sum)
__device__ __forceinline__ unsigned word_of(ProductSum sum) { return static_cast<unsigned>(sum); }
__device__ __forceinline__ ProductSum sum_of(unsigned word) { return static_cast<ProductSum>(word); }
#else
using ProductSum = float;
#define PRODUCT_SUM_OPERAND(sum) "+f"(sum)
__device__ __forceinline__ unsigned word_of(ProductSum sum) { return __float_as_uint(sum); }
__device__ __forceinline__ ProductSum sum_of(unsigned word) { return __uint_as_float(word); }
#endif

#if PRODUCT_OUTPUT == PRODUCT_HALVES
using ProductOutput = unsigned short;
__device__ __forceinline__ void store_neighbours(ProductOutput* to, const float (&value)[8], const EpilogueOperands&) {
  store_halves(to, value);
}
template <int N>
__device__ __forceinline__ void store_neighbours(ProductOutput* to, const float (&value)[N], const EpilogueOperands&) {
  store(reinterpret_cast<half*>(to), value);
}
#else
#if PRODUCT_OUTPUT == PRODUCT_BYTES
using ProductOutput = quantized;
#elif PRODUCT_OUTPUT == PRODUCT_BFLOATS
using ProductOutput = bfloat;
#else
using ProductOutput = float;
#endif
template <int N>
__device__ __forceinline__ void store_neighbours(ProductOutput* to, const float (&value)[N],
                                                 const EpilogueOperands& operands) {
  store_finished(to, value, operands);
}
#endif

__device__ __forceinline__ int product_n(const ProductProblem& problem) {
  return PRODUCT_N > 0 ? PRODUCT_N : problem.n;
}
__device__ __forceinline__ int product_k(const ProductProblem& problem) {
  return PRODUCT_K > 0 ? PRODUCT_K : problem.k;
}
__device__ __forceinline__ long long product_y_pitch(const ProductProblem& problem) {
  return PRODUCT_Y_PITCH > 0 ? PRODUCT_Y_PITCH : problem.y_pitch;
}

struct ProductTile {
  int row, column;  // counted in tiles
};

// The index-th tile of the walk: PRODUCT_RASTER tiles down, then one tile to the right.
__device__ __forceinline__ ProductTile product_tile(int index, int row_tiles, int column_tiles) {
  const int per_band = PRODUCT_RASTER * column_tiles;
  const int band = index / per_band;
  const int within = index - band * per_band;
  const int first = band * PRODUCT_RASTER;
  const int rows = min(PRODUCT_RASTER, row_tiles - first);
  const int column = within / rows;
  return {first + within - column * rows, column};
}

constexpr int kSumSets = PRODUCT_SECOND == 2 ? 2 : 1;

// Of kGroups groups, those whose operands are loaded together.
template <int kGroups>
struct EpilogueBatches {
  static constexpr int kCount = (kGroups + PRODUCT_EPILOGUE_BATCH - 1) / PRODUCT_EPILOGUE_BATCH;
  static constexpr int kGroupsOfOne = kGroups / kCount;
  static_assert(kGroupsOfOne * kCount == kGroups);
};

// What the first batch needs, asked for before there are sums. Places outside of Y ask for its edge.
template <int kGroups, int kWidth>
struct EpilogueStart {
  static constexpr bool kIsAsked = true;
  SumMeaning<kWidth> meaning;
  EpilogueInputs<kWidth> inputs[EpilogueBatches<kGroups>::kGroupsOfOne];
};
struct NothingAsked {
  static constexpr bool kIsAsked = false;
};
struct NothingNear {};
template <int kGroups, int kWidth, typename Row, typename Column>
__device__ __forceinline__ void product_ask(EpilogueStart<kGroups, kWidth>& start, const ProductProblem& problem,
                                            const EpilogueOperands& operands, int entry, Row row, Column column) {
  const long long first_line = static_cast<long long>(entry) * problem.m;
  const int last_column = product_n(problem) - kWidth;
  load_meaning(start.meaning, operands, min(column(0), last_column));
#pragma unroll
  for (int g = 0; g < EpilogueBatches<kGroups>::kGroupsOfOne; ++g)
    load_inputs(start.inputs[g], operands, first_line + min(row(g), problem.m - 1), min(column(g), last_column),
                NothingNear{});
}
template <int kGroups, int kWidth, typename Row, typename Column>
__device__ __forceinline__ void product_ask(NothingAsked&, const ProductProblem&, const EpilogueOperands&, int, Row,
                                            Column) {}

// Finishes and writes a thread's kGroups groups of kWidth neighbouring columns: take(g, sum) gives the sums of group g,
// row(g) and column(g) its place in batch entry `entry`; with kOneColumn all are of the same columns. kWhole: all of
// them lie in Y. Else groups outside are worked out at Y's edge and not written. The operands of a batch of groups are
// loaded while the batch before is worked out: behind its stores, which could write what they read, they would be
// waited for.
template <int kGroups, int kWidth, bool kOneColumn, bool kWhole, typename Start, typename Take, typename Row,
          typename Column, typename Near>
__device__ __forceinline__ void product_finish_part(ProductOutput* y, const ProductProblem& problem,
                                                    const EpilogueOperands& operands, int entry, const Start& start,
                                                    Take take, Row row, Column column, const Near& near) {
  constexpr int kBatches = EpilogueBatches<kGroups>::kCount, kBatch = EpilogueBatches<kGroups>::kGroupsOfOne;
  const int n = product_n(problem);
  // Rows and columns of groups differ by constants, of one number: taken apart, stores of halves become shorter ones.
  long long place = entry * problem.y_stride + row(0) * product_y_pitch(problem) + column(0);
#if PRODUCT_OUTPUT != PRODUCT_BYTES && !defined(HUSSAR_EMULATED)
  asm("" : "+l"(place));
#endif
  ProductOutput* const to = y + place;
  const int pitch = static_cast<int>(product_y_pitch(problem));
  const long long first_line = static_cast<long long>(entry) * problem.m + row(0);
  auto line = [&](int group) { return first_line + ((kWhole ? row(group) : min(row(group), problem.m - 1)) - row(0)); };
  auto first_column = [&](int group) { return kWhole ? column(group) : min(column(group), n - kWidth); };
  SumMeaning<kWidth> meaning;
  EpilogueInputs<kWidth> inputs[2][kBatch];
  auto load_batch = [&](int batch) {
#pragma unroll
    for (int g = 0; g < kBatch; ++g)
      load_inputs(inputs[batch % 2][g], operands, line(batch * kBatch + g), first_column(batch * kBatch + g), near);
  };
  if constexpr (Start::kIsAsked) {
    meaning = start.meaning;
#pragma unroll
    for (int g = 0; g < kBatch; ++g) inputs[0][g] = start.inputs[g];
  } else {
    if (kOneColumn) load_meaning(meaning, operands, first_column(0));
    load_batch(0);
  }
#pragma unroll
  for (int batch = 0; batch < kBatches; ++batch) {
    if (batch + 1 < kBatches) load_batch(batch + 1);
    const int first = batch * kBatch;
    float value[kBatch][kWidth];
#pragma unroll
    for (int g = 0; g < kBatch; ++g) {
      ProductSum sum[kSumSets * kWidth];
      take(first + g, sum);
      const bool is_there = Start::kIsAsked && column(first + g) - column(0) == 0;
      if (!kOneColumn && !is_there) load_meaning(meaning, operands, first_column(first + g));
      real_sums(sum, value[g], meaning, row_meaning(operands, line(first + g)));
      epilogue_of(value[g], inputs[batch % 2][g], operands);
    }
#pragma unroll
    for (int g = 0; g < kBatch; ++g) {
      if (kWhole || (row(first + g) < problem.m && column(first + g) < n))
        store_neighbours(to + (row(first + g) - row(0)) * pitch + (column(first + g) - column(0)), value[g], operands);
    }
  }
}

// `start`: by product_ask with the same row and column, or NothingAsked. `whole`: the same for all threads of a warp.
template <int kGroups, int kWidth, bool kOneColumn, typename Start, typename Take, typename Row, typename Column,
          typename Near = NothingNear>
__device__ __forceinline__ void product_finish(ProductOutput* y, const ProductProblem& problem,
                                               const EpilogueOperands& operands, int entry, bool whole,
                                               const Start& start, Take take, Row row, Column column,
                                               const Near& near = {}) {
  if (whole)
    product_finish_part<kGroups, kWidth, kOneColumn, true>(y, problem, operands, entry, start, take, row, column, near);
  else
    product_finish_part<kGroups, kWidth, kOneColumn, false>(y, problem, operands, entry, start, take, row, column,
                                                            near);
}

// Lets the next kernel of the stream start its own preparations.
__device__ __forceinline__ void product_allow_next_kernel() {
#if PRODUCT_DEPENDENT_LAUNCH && !defined(HUSSAR_EMULATED)
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Returns when everything that earlier kernels wrote is visible.
__device__ __forceinline__ void product_wait_for_earlier_kernels() {
#if PRODUCT_DEPENDENT_LAUNCH && !defined(HUSSAR_EMULATED)
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
