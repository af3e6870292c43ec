// Which tiles a block of product_hopper.cuh works on, and where their parts of X and W come from. The macros are those
// of that text. Behind hopper_wgmma.cuh.
//
// With PRODUCT_HEADS 1 (projected_attention.cuh) a tile is the rows of one entry of the batch by 64 columns of the
// queries, 64 of the keys and 64 of the values: W has 3 * hidden rows, of which a tile reads those from 64 i, hidden +
// 64 i and 2 hidden + 64 i on. BN is 192; m are the rows of an entry, at most BM, and X's map has the entries as its
// third dimension. Default 0.
#pragma once

#ifndef PRODUCT_CLUSTER_M
#define PRODUCT_CLUSTER_M 1
#endif
#ifndef PRODUCT_CLUSTER_N
#define PRODUCT_CLUSTER_N 1
#endif
#ifndef PRODUCT_SPLIT
#define PRODUCT_SPLIT 1
#endif
#ifndef PRODUCT_BLOCKS_PER_SM
#define PRODUCT_BLOCKS_PER_SM 1
#endif
#ifndef PRODUCT_WINDOWS
#define PRODUCT_WINDOWS 0
#endif
#ifndef PRODUCT_ROW_BYTES
#define PRODUCT_ROW_BYTES 128
#endif
#ifndef PRODUCT_W_ROWS
#define PRODUCT_W_ROWS 32
#endif
#ifndef PRODUCT_NEAR
#define PRODUCT_NEAR 0
#endif
#ifndef PRODUCT_HEADS
#define PRODUCT_HEADS 0
#endif
#ifndef PRODUCT_SECOND_K
#define PRODUCT_SECOND_K 0
#endif
#ifndef PRODUCT_SECOND_WINDOWS
#define PRODUCT_SECOND_WINDOWS 0
#endif
#define PRODUCT_SHARERS (PRODUCT_CLUSTER_M * PRODUCT_CLUSTER_N)

constexpr int kMultiplyingThreads = 256;
constexpr int kThreads = kMultiplyingThreads + 128;
constexpr int kCopyingRegisters = PRODUCT_BLOCKS_PER_SM == 1 ? 56 : 40;
constexpr int kMultiplyingRegisters = PRODUCT_BLOCKS_PER_SM == 1 ? 224 : 96;
constexpr int kRowBytes = PRODUCT_ROW_BYTES;
constexpr int kRowBytesW = PRODUCT_SPARSE ? kRowBytes / 2 : kRowBytes;
static_assert(kRowBytes == 128 || (kRowBytes == 64 && !PRODUCT_SPARSE));
constexpr int kBlockK = kRowBytes / static_cast<int>(sizeof(ProductInput));
constexpr int kTileBytesX = PRODUCT_BM * kRowBytes;
constexpr int kStageBytes = PRODUCT_BM * kRowBytes + PRODUCT_BN * kRowBytesW;
constexpr int kRingBytes = PRODUCT_STAGES * kStageBytes;
#if PRODUCT_SPARSE
constexpr int kGroupM = PRODUCT_BM;  // rows of a warpgroup
constexpr int kGroupN = PRODUCT_PINGPONG ? PRODUCT_BN : PRODUCT_BN / 2;
constexpr int kBlocks = kGroupN / 64;
static_assert(kGroupN % 64 == 0 && PRODUCT_SPLIT == 1 && sizeof(ProductInput) <= 2);
#else
constexpr int kGroupM = PRODUCT_PINGPONG ? PRODUCT_BM : PRODUCT_BM / 2;
constexpr int kGroupN = PRODUCT_BN;
constexpr int kBlocks = kGroupM / 64;
static_assert(kGroupM % 64 == 0);
#endif
constexpr int kShareX = PRODUCT_BM / PRODUCT_CLUSTER_N;  // rows that this block loads
constexpr int kShareW = PRODUCT_BN / PRODUCT_CLUSTER_M;
constexpr int kSignals = PRODUCT_CLUSTER_M + PRODUCT_CLUSTER_N - 1;  // blocks that load into a block's stage
constexpr int kReadersWarps = PRODUCT_PINGPONG ? 4 : 8;
constexpr int kNearRowBytes = 128;
constexpr int kNearTileBytes = PRODUCT_BM * PRODUCT_BN * PRODUCT_NEAR;
static_assert(PRODUCT_NEAR == 0 ||
              (PRODUCT_BN * PRODUCT_NEAR % kNearRowBytes == 0 && PRODUCT_SPLIT == 1 && !PRODUCT_SPARSE));
static_assert(kGroupM * kGroupN <= 16384);
static_assert(kShareX % 8 == 0 && kShareW % PRODUCT_W_ROWS == 0);
static_assert(PRODUCT_SPLIT == 1 || (!PRODUCT_PINGPONG && PRODUCT_SHARERS == 1));
static_assert(PRODUCT_SPLIT == 1 || PRODUCT_BM * PRODUCT_BN * 4 <= kRingBytes);
static_assert(PRODUCT_SECOND == 0 || (PRODUCT_SPLIT == 1 && !PRODUCT_SPARSE && !PRODUCT_WINDOWS && PRODUCT_NEAR == 0));
static_assert(PRODUCT_SECOND != 2 || kGroupM * kGroupN <= 8192);
using SumSet = ProductSum[kBlocks][HOPPER_N / 2];
using Accumulator = SumSet[kSumSets];

// The ring's stages and barriers, as shared-memory addresses.
struct Ring {
  unsigned stages, full, empty;
  unsigned near_tiles, near_full, near_empty;  // two of each
};

// What the copy engine reads.
struct Maps {
  const TensorMap &x, &w;
#if PRODUCT_NEAR
  const TensorMap& near;
#endif
#if PRODUCT_SECOND
  const TensorMap &second_x, &second_w;
#endif
};

struct Position {
  int stage;
  unsigned parity;
  __device__ __forceinline__ void next() {
    const bool is_last = stage == PRODUCT_STAGES - 1;
    stage = is_last ? 0 : stage + 1;
    parity ^= is_last ? 1u : 0u;
  }
  __device__ __forceinline__ void advance(int by) {
    const int sum = stage + by;
    stage = sum % PRODUCT_STAGES;
    parity ^= static_cast<unsigned>(sum / PRODUCT_STAGES) & 1u;
  }
};

// The warp's number, known to be the same for all of its threads, so that what follows from it is in uniform registers.
__device__ __forceinline__ int own_warp() { return __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0); }

// 0 and 1 multiply, 2 copies. Where registers are short it is found again whenever it is needed.
__device__ __forceinline__ int own_warpgroup() {
  constexpr bool kHasRegisters = (PRODUCT_BLOCKS_PER_SM == 1 || PRODUCT_PINGPONG) && !PRODUCT_HEADS;
  return kHasRegisters ? own_warp() / 4 : static_cast<int>(threadIdx.x) / 128;
}

#if PRODUCT_SECOND
constexpr int kSecondSteps = (PRODUCT_SECOND_K + kBlockK - 1) / kBlockK;
#endif

#if PRODUCT_WINDOWS
constexpr int kTapSteps = (CONV_CHANNELS + kBlockK - 1) / kBlockK;
#endif

// What this block does: which tiles and which part of k.
struct Work {
  int row_groups, column_groups, groups;  // clusters' worth of tiles
  int first, stride;                      // this cluster's way through them
  int rank, rank_m, rank_n;               // this block's place in the cluster
  int step_first, step_last;              // in blocks of k
#if PRODUCT_HEADS
  int part;  // columns of the queries, the keys or the values
#endif
};

// m: rows that are needed, all or the first ones.
__device__ __forceinline__ Work make_work(const ProductProblem& problem, int m) {
  constexpr int kCluster = PRODUCT_SHARERS * PRODUCT_SPLIT;
  Work work;
  work.rank = kCluster > 1 ? static_cast<int>(cluster_rank()) : 0;
  work.rank_m = work.rank % PRODUCT_CLUSTER_M;
  work.rank_n = PRODUCT_CLUSTER_N > 1 ? work.rank / PRODUCT_CLUSTER_M : 0;
  constexpr int kRows = PRODUCT_BM * PRODUCT_CLUSTER_M, kColumns = PRODUCT_BN * PRODUCT_CLUSTER_N;
  work.column_groups = (product_n(problem) + kColumns - 1) / kColumns;
#if PRODUCT_HEADS
  work.row_groups = (problem.batch + PRODUCT_CLUSTER_M - 1) / PRODUCT_CLUSTER_M;
  work.groups = work.row_groups * work.column_groups;
  work.part = product_n(problem) / 3;
#else
  work.row_groups = (m + kRows - 1) / kRows;
  work.groups = work.row_groups * work.column_groups * problem.batch;
#endif
  work.first = static_cast<int>(blockIdx.x) / kCluster;
  work.stride = static_cast<int>(gridDim.x) / kCluster;
#if PRODUCT_WINDOWS
  constexpr int steps = CONV_KERNEL_1 * CONV_KERNEL_2 * kTapSteps;
#elif PRODUCT_SECOND
  constexpr int steps = (PRODUCT_K + kBlockK - 1) / kBlockK + kSecondSteps;
#else
  const int steps = (product_k(problem) + kBlockK - 1) / kBlockK;
#endif
  work.step_first = PRODUCT_SPLIT > 1 ? steps * work.rank / PRODUCT_SPLIT : 0;
  work.step_last = PRODUCT_SPLIT > 1 ? steps * (work.rank + 1) / PRODUCT_SPLIT : steps;
  return work;
}

struct Place {
  int entry, row, column;  // of the batch; of this block's tile, in elements
};

#if PRODUCT_HEADS

constexpr int kPartColumns = 64;  // of a tile: of each part

__device__ __forceinline__ Place make_place(const Work& work, int group) {
  const ProductTile tile = product_tile(group, work.row_groups, work.column_groups);
  return {tile.row * PRODUCT_CLUSTER_M + work.rank_m, 0,
          (tile.column * PRODUCT_CLUSTER_N + work.rank_n) * kPartColumns};
}

// The row of W, a column of the result, of a tile's column.
__device__ __forceinline__ int row_of_w(const Work& work, const Place& place, int column) {
  return place.column + column / kPartColumns * work.part + column % kPartColumns;
}

#else

__device__ __forceinline__ Place make_place(const Work& work, int group) {
  const int per_entry = work.row_groups * work.column_groups;
  const int entry = group < per_entry ? 0 : group / per_entry;
  const ProductTile tile = product_tile(group - entry * per_entry, work.row_groups, work.column_groups);
  return {entry, (tile.row * PRODUCT_CLUSTER_M + work.rank_m) * PRODUCT_BM,
          (tile.column * PRODUCT_CLUSTER_N + work.rank_n) * PRODUCT_BN};
}

#endif

#if PRODUCT_WINDOWS || PRODUCT_SECOND_WINDOWS

// On the host: 8 x 4 bytes. Taps are counted from the top left of the padded picture.
struct WindowSteps {
  int output_rows, output_columns;
  int row_stride, column_stride, row_pad, column_pad, row_dilation, column_dilation;
};

// Where this block's share of X's tile begins: the first tap of its first window.
struct WindowX {
  int picture, row, column;
};
__device__ __forceinline__ WindowX window_of(const Work& work, const Place& place, const WindowSteps& windows) {
  const int window = place.row + work.rank_n * kShareX;
  const int line = window / windows.output_columns, picture = line / windows.output_rows;
  return {picture, (line - picture * windows.output_rows) * windows.row_stride - windows.row_pad,
          (window - line * windows.output_columns) * windows.column_stride - windows.column_pad};
}

#else

struct WindowSteps {};

#endif

#if PRODUCT_WINDOWS

using SourceX = WindowX;
__device__ __forceinline__ SourceX source_of(const Work& work, const Place& place, const WindowSteps& windows) {
  return window_of(work, place, windows);
}

// The first of k that block `step` of W holds.
__device__ __forceinline__ int first_of_w(int step) {
  return step / kTapSteps * CONV_CHANNELS + step % kTapSteps * kBlockK;
}

__device__ __forceinline__ void bring_x(unsigned to, const Maps& maps, unsigned barrier, const SourceX& source,
                                        const WindowSteps& windows, int step, unsigned short mask) {
  const int tap = step / kTapSteps;
  window_copy<PRODUCT_CLUSTER_N>(to, maps.x, barrier, step % kTapSteps * kBlockK, source.column, source.row,
                                 source.picture,
                                 static_cast<unsigned short>(tap % CONV_KERNEL_2 * windows.column_dilation),
                                 static_cast<unsigned short>(tap / CONV_KERNEL_2 * windows.row_dilation), mask);
}

#else

struct SourceX {
  int entry, row;
#if PRODUCT_SECOND_WINDOWS
  WindowX window;
#endif
};
__device__ __forceinline__ SourceX source_of(const Work& work, const Place& place, const WindowSteps& windows) {
#if PRODUCT_SECOND_WINDOWS
  return {place.entry, place.row + work.rank_n * kShareX, window_of(work, place, windows)};
#else
  return {place.entry, place.row + work.rank_n * kShareX};
#endif
}

#if PRODUCT_SECOND

// Of the first product come all blocks before those of the second.
constexpr int kFirstSteps = (PRODUCT_K + kBlockK - 1) / kBlockK;
__device__ __forceinline__ int first_of_w(int step) {
  return (step < kFirstSteps ? step : step - kFirstSteps) * kBlockK;
}
__device__ __forceinline__ const TensorMap& map_of_w(const Maps& maps, int step) {
  return step < kFirstSteps ? maps.w : maps.second_w;
}

#else

__device__ __forceinline__ int first_of_w(int step) { return step * kBlockK; }

#endif

__device__ __forceinline__ void bring_x(unsigned to, const Maps& maps, unsigned barrier, const SourceX& source,
                                        const WindowSteps&, int step, unsigned short mask) {
#if PRODUCT_SECOND
  // NVRTC 13.0 cannot choose between two maps of this kind beside those of W: it crashes.
  if (step >= kFirstSteps) {
#if PRODUCT_SECOND_WINDOWS
    window_copy<PRODUCT_CLUSTER_N>(to, maps.second_x, barrier, first_of_w(step), source.window.column,
                                   source.window.row, source.window.picture, 0, 0, mask);
#else
    tensor_copy<PRODUCT_CLUSTER_N>(to, maps.second_x, barrier, first_of_w(step), source.row, source.entry, mask);
#endif
    return;
  }
#endif
  tensor_copy<PRODUCT_CLUSTER_N>(to, maps.x, barrier, first_of_w(step), source.row, source.entry, mask);
}

#endif

#if !PRODUCT_SECOND
__device__ __forceinline__ const TensorMap& map_of_w(const Maps& maps, int) { return maps.w; }
#endif

__device__ __forceinline__ void copy_x(const Ring& ring, int stage, const Maps& maps, const Work& work,
                                       const SourceX& source, const WindowSteps& windows, int step) {
  const unsigned mask = ((1u << PRODUCT_CLUSTER_N * PRODUCT_CLUSTER_M) - 1) / ((1u << PRODUCT_CLUSTER_M) - 1)
                        << work.rank_m;
  bring_x(ring.stages + stage * kStageBytes + work.rank_n * kShareX * kRowBytes, maps, ring.full + stage * 8, source,
          windows, step, static_cast<unsigned short>(mask));
}

__device__ __forceinline__ void copy_w(const Ring& ring, int stage, const Maps& maps, const Work& work,
                                       const Place& place, int step) {
  const TensorMap& map = map_of_w(maps, step);
  const unsigned mask = ((1u << PRODUCT_CLUSTER_M) - 1) << (work.rank_n * PRODUCT_CLUSTER_M);
#if PRODUCT_SPARSE
  const int first = work.rank_m * kShareW;
  tensor_copy<PRODUCT_CLUSTER_M>(ring.stages + stage * kStageBytes + kTileBytesX + first * kRowBytesW, map,
                                 ring.full + stage * 8, first_of_w(step) / 2, place.column + first, place.entry,
                                 static_cast<unsigned short>(mask));
#else
#pragma unroll
  for (int block = 0; block < kShareW / PRODUCT_W_ROWS; ++block) {
    const int first = work.rank_m * kShareW + block * PRODUCT_W_ROWS;
#if PRODUCT_HEADS
    const int row = row_of_w(work, place, first), entry = 0;
#else
    const int row = place.column + first, entry = place.entry;
#endif
    constexpr bool kOfGroups = PRODUCT_W_ROWS > 32;
    tensor_copy<PRODUCT_CLUSTER_M>(ring.stages + stage * kStageBytes + kTileBytesX + first * kRowBytes, map,
                                   ring.full + stage * 8, first_of_w(step), 0, kOfGroups ? 0 : row / 8, 0,
                                   kOfGroups ? row / 32 : entry, static_cast<unsigned short>(mask));
  }
#endif
}
