// The main loop of products on Hopper: what product_hopper.cuh describes, up to the sums of a tile in the registers of
// the warpgroups that multiply. Behind hopper_wgmma.cuh.
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
#ifndef PRODUCT_NEAR
#define PRODUCT_NEAR 0
#endif
#ifndef PRODUCT_HEADS
#define PRODUCT_HEADS 0
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
static_assert(kShareX % 8 == 0 && kShareW % 32 == 0);
static_assert(PRODUCT_SPLIT == 1 || (!PRODUCT_PINGPONG && PRODUCT_SHARERS == 1));
static_assert(PRODUCT_SPLIT == 1 || PRODUCT_BM * PRODUCT_BN * 4 <= kRingBytes);
using Accumulator = ProductSum[kBlocks][HOPPER_N / 2];

// The ring's stages and barriers, as shared-memory addresses.
struct Ring {
  unsigned stages, full, empty;
  unsigned near_tiles, near_full, near_empty;  // two of each
};

struct Position {
  int stage;
  unsigned parity;
  __device__ __forceinline__ void advance(int by = 1) {
    const int sum = stage + by;
    stage = sum % PRODUCT_STAGES;
    parity ^= static_cast<unsigned>(sum / PRODUCT_STAGES) & 1u;
  }
};

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

#if PRODUCT_WINDOWS

// On the host: 8 x 4 bytes. Taps are counted from the top left of the padded picture.
struct WindowSteps {
  int output_rows, output_columns;
  int row_stride, column_stride, row_pad, column_pad, row_dilation, column_dilation;
};

// Where this block's share of X's tile begins: the first tap of its first window.
struct SourceX {
  int picture, row, column;
};
__device__ __forceinline__ SourceX source_of(const Work& work, const Place& place, const WindowSteps& windows) {
  const int window = place.row + work.rank_n * kShareX;
  const int line = window / windows.output_columns, picture = line / windows.output_rows;
  return {picture, (line - picture * windows.output_rows) * windows.row_stride - windows.row_pad,
          (window - line * windows.output_columns) * windows.column_stride - windows.column_pad};
}

// The first of k that block `step` of W holds.
__device__ __forceinline__ int first_of_w(int step) {
  return step / kTapSteps * CONV_CHANNELS + step % kTapSteps * kBlockK;
}

__device__ __forceinline__ void bring_x(unsigned to, const TensorMap& map, unsigned barrier, const SourceX& source,
                                        const WindowSteps& windows, int step, unsigned short mask) {
  const int tap = step / kTapSteps;
  window_copy<PRODUCT_CLUSTER_N>(to, map, barrier, step % kTapSteps * kBlockK, source.column, source.row,
                                 source.picture,
                                 static_cast<unsigned short>(tap % CONV_KERNEL_2 * windows.column_dilation),
                                 static_cast<unsigned short>(tap / CONV_KERNEL_2 * windows.row_dilation), mask);
}

#else

struct WindowSteps {};

struct SourceX {
  int entry, row;
};
__device__ __forceinline__ SourceX source_of(const Work& work, const Place& place, const WindowSteps&) {
  return {place.entry, place.row + work.rank_n * kShareX};
}

__device__ __forceinline__ int first_of_w(int step) { return step * kBlockK; }

__device__ __forceinline__ void bring_x(unsigned to, const TensorMap& map, unsigned barrier, const SourceX& source,
                                        const WindowSteps&, int step, unsigned short mask) {
  tensor_copy<PRODUCT_CLUSTER_N>(to, map, barrier, step * kBlockK, source.row, source.entry, mask);
}

#endif

__device__ __forceinline__ void copy_x(const Ring& ring, int stage, const TensorMap& map, const Work& work,
                                       const SourceX& source, const WindowSteps& windows, int step) {
  const unsigned mask = ((1u << PRODUCT_CLUSTER_N * PRODUCT_CLUSTER_M) - 1) / ((1u << PRODUCT_CLUSTER_M) - 1)
                        << work.rank_m;
  bring_x(ring.stages + stage * kStageBytes + work.rank_n * kShareX * kRowBytes, map, ring.full + stage * 8, source,
          windows, step, static_cast<unsigned short>(mask));
}

__device__ __forceinline__ void copy_w(const Ring& ring, int stage, const TensorMap& map, const Work& work,
                                       const Place& place, int step) {
  const unsigned mask = ((1u << PRODUCT_CLUSTER_M) - 1) << (work.rank_n * PRODUCT_CLUSTER_M);
#if PRODUCT_SPARSE
  const int first = work.rank_m * kShareW;
  tensor_copy<PRODUCT_CLUSTER_M>(ring.stages + stage * kStageBytes + kTileBytesX + first * kRowBytesW, map,
                                 ring.full + stage * 8, first_of_w(step) / 2, place.column + first, place.entry,
                                 static_cast<unsigned short>(mask));
#else
#pragma unroll
  for (int block = 0; block < kShareW / 32; ++block) {
    const int first = work.rank_m * kShareW + block * 32;
#if PRODUCT_HEADS
    const int row = row_of_w(work, place, first), entry = 0;
#else
    const int row = place.column + first, entry = place.entry;
#endif
    tensor_copy<PRODUCT_CLUSTER_M>(ring.stages + stage * kStageBytes + kTileBytesX + first * kRowBytes, map,
                                   ring.full + stage * 8, first_of_w(step), 0, row / 8, 0, entry,
                                   static_cast<unsigned short>(mask));
  }
#endif
}

#if PRODUCT_NEAR

// The tile at `place` of the operand that is brought near; it is the turn-th of this block.
__device__ __forceinline__ void bring_near(const Ring& ring, const TensorMap& map, const Place& place, int turn) {
  const unsigned slot = static_cast<unsigned>(turn) & 1u, parity = static_cast<unsigned>(turn) >> 1 & 1u;
  const unsigned full = ring.near_full + slot * 8;
  barrier_wait(ring.near_empty + slot * 8, parity ^ 1);
  barrier_expect(full, kNearTileBytes);
#pragma unroll
  for (int box = 0; box < PRODUCT_BN * PRODUCT_NEAR / kNearRowBytes; ++box)
    tensor_copy<1>(ring.near_tiles + slot * kNearTileBytes + box * (PRODUCT_BM * kNearRowBytes), map, full,
                   place.column + box * (kNearRowBytes / PRODUCT_NEAR), place.row, place.entry, 0);
}

// A tile that was brought, for epilogue_of.
struct Near {
  const unsigned char* tile;
  long long first_row;
  int first_column;
  template <class T, int N>
  __device__ __forceinline__ void load(const T*, long long row, int column, float (&to)[N]) const {
    // Tiles outside of the matrix are brought, too, and asked for its edge.
    const unsigned r = static_cast<unsigned>(max(static_cast<int>(row - first_row), 0));
    const unsigned byte = static_cast<unsigned>(max(column - first_column, 0)) * PRODUCT_NEAR;
    const unsigned box = byte / kNearRowBytes * (PRODUCT_BM * kNearRowBytes);
    ::load(reinterpret_cast<const T*>(tile + box + r * kNearRowBytes + ((byte % kNearRowBytes) ^ ((r & 7) << 4))), to);
  }
};

#endif

// One thread keeps the ring full. Before the kernels in front have ended it may load weights only.
__device__ __forceinline__ void produce(const Ring& ring, const TensorMap& x_map, const TensorMap& w_map,
                                        const TensorMap* near_map, const Work& work, const WindowSteps& windows) {
  int early = 0;
#if PRODUCT_DEPENDENT_LAUNCH
  if (work.first < work.groups) {
    const Place place = make_place(work, work.first);
    early = min(PRODUCT_STAGES, work.step_last - work.step_first);
    for (int s = 0; s < early; ++s) {
      barrier_expect(ring.full + s * 8, kStageBytes);
      copy_w(ring, s, w_map, work, place, work.step_first + s);
    }
    product_wait_for_earlier_kernels();
    const SourceX source = source_of(work, place, windows);
    for (int s = 0; s < early; ++s) copy_x(ring, s, x_map, work, source, windows, work.step_first + s);
  }
#endif
  Position at = {0, 0};
  at.advance(early);
#if PRODUCT_NEAR
  int turn = 0;
#endif
  for (int group = work.first; group < work.groups; group += work.stride) {
    const Place place = make_place(work, group);
    const SourceX source = source_of(work, place, windows);
#if PRODUCT_NEAR
    bring_near(ring, *near_map, place, turn++);
#endif
    for (int step = work.step_first + early; step < work.step_last; ++step) {
      barrier_wait(ring.empty + at.stage * 8, at.parity ^ 1);
      barrier_expect(ring.full + at.stage * 8, kStageBytes);
      copy_x(ring, at.stage, x_map, work, source, windows, step);
      copy_w(ring, at.stage, w_map, work, place, step);
      at.advance();
    }
    early = 0;
  }
}

// The warp has read the stage: told to every block that loads into it.
__device__ __forceinline__ void release_stage(const Ring& ring, int stage, const Work& work) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  if constexpr (PRODUCT_SHARERS == 1) {
    if (lane == 0) barrier_arrive(ring.empty + stage * 8);
  } else if (lane < kSignals) {
    const int other = lane - PRODUCT_CLUSTER_M;
    const int rank = lane < PRODUCT_CLUSTER_M ? work.rank_n * PRODUCT_CLUSTER_M + lane
                                              : (other + (other >= work.rank_n)) * PRODUCT_CLUSTER_M + work.rank_m;
    barrier_arrive_at(ring.empty + stage * 8, static_cast<unsigned>(rank));
  }
}

// A warpgroup's part of the tile that it works on: rows, or columns where weights are the left operand.
__device__ __forceinline__ int first_row_of(int warpgroup) {
  return PRODUCT_PINGPONG || PRODUCT_SPARSE ? 0 : warpgroup * kGroupM;
}

// Two warpgroups that take turns: one multiplies only after the other has issued its last product. Without it the one
// ahead could take a stage's earlier completion, of the same parity, for its own.
__device__ __forceinline__ void wait_for_turn(int warpgroup) {
  if (warpgroup == 0)
    threads_meet<1, kMultiplyingThreads>();
  else
    threads_meet<2, kMultiplyingThreads>();
}
__device__ __forceinline__ void give_turn(int warpgroup) {
  if (warpgroup == 0)
    threads_arrive<1, kMultiplyingThreads>();
  else
    threads_arrive<2, kMultiplyingThreads>();
}

// Behind the last product of a tile.
__device__ __forceinline__ void end_tile(Accumulator& sum, const Ring& ring, const Work& work, int warpgroup,
                                         int previous) {
  if (PRODUCT_PINGPONG) give_turn(1 - warpgroup);
  hopper_wait_multiply<0>();
#pragma unroll
  for (int i = 0; i < kBlocks; ++i)
#pragma unroll
    for (int j = 0; j < HOPPER_N / 2; ++j) hopper_settle(sum[i][j]);
  if (work.step_last > work.step_first) release_stage(ring, previous, work);
}

#if PRODUCT_SPARSE

// The words of a thread for two blocks of k: four of bytes, two of halves.
struct alignas(kBlockK / 8) Words {
  unsigned of[kBlockK / 32];
};

// Where the elements of W are, for a tile's columns of this warpgroup: the words of this thread.
struct Places {
  const Words* from;  // of the first block of 64 columns
  int count;          // of one block
  __device__ __forceinline__ void load(Words (&words)[kBlocks], int index) const {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) words[i] = from[(i * count + min(index, count - 1)) * 128];
  }
};
__device__ __forceinline__ Places places_of(const unsigned char* places, const ProductProblem& problem,
                                            const Place& place, int warpgroup) {
  const int first = place.column + (PRODUCT_PINGPONG ? 0 : warpgroup * kGroupN);
  const int count = (product_k(problem) + 2 * kBlockK - 1) / (2 * kBlockK);
  // Behind the last group of columns lies nothing.
  const int group = min(first / kGroupN, (product_n(problem) + kGroupN - 1) / kGroupN - 1);
  const auto* from = reinterpret_cast<const Words*>(places);
  return {from + static_cast<long long>(group) * kBlocks * count * 128 + (threadIdx.x & 127), count};
}

// The sums of this warpgroup's columns of one tile. As below, but two sets of words take turns: what products in flight
// read is not overwritten.
__device__ __forceinline__ void multiply_tile(Accumulator& sum, const Ring& ring, Position& at, const Work& work,
                                              int warpgroup, const Places& places) {
  int previous = 0;
  Words words[2][kBlocks];
  places.load(words[0], 0);
  if (PRODUCT_PINGPONG) wait_for_turn(warpgroup);
  for (int base = 0; base < work.step_last; base += 4) {
#pragma unroll
    for (int quarter = 0; quarter < 4; ++quarter) {
      const int step = base + quarter;
      if (step >= work.step_last) break;
      const Words(&set)[kBlocks] = words[quarter / 2];
      barrier_wait(ring.full + at.stage * 8, at.parity);
      const unsigned stage = ring.stages + at.stage * kStageBytes;
      const unsigned long long a =
          hopper_describe_narrow(stage + kTileBytesX + (PRODUCT_PINGPONG ? 0 : warpgroup) * kGroupN * kRowBytesW);
      const unsigned long long b = hopper_describe(stage);
      hopper_begin_multiply();
      constexpr int kWords = kBlockK / 64;  // of a block of k
#pragma unroll
      for (int i = 0; i < kBlocks; ++i)
        hopper_multiply_sparse<0>(sum[i], a + i * (64 * kRowBytesW / 16), b, set[i].of[quarter % 2 * kWords], step > 0);
#pragma unroll
      for (int i = 0; i < kBlocks; ++i)
        hopper_multiply_sparse<1>(sum[i], a + 2 + i * (64 * kRowBytesW / 16), b + 4,
                                  set[i].of[quarter % 2 * kWords + kWords - 1], 1);
      hopper_end_multiply();
      if (step > 0) {
        hopper_wait_multiply<1>();
        release_stage(ring, previous, work);
      }
      if (quarter % 2 == 0) places.load(words[1 - quarter / 2], step / 2 + 1);
      previous = at.stage;
      at.advance();
    }
  }
  end_tile(sum, ring, work, warpgroup, previous);
}

#else

__device__ __forceinline__ unsigned long long describe_rows(unsigned address) {
  return kRowBytes == 64 ? hopper_describe_narrow(address) : hopper_describe(address);
}

// The sums of this warpgroup's rows of one tile. The release of a stage lags one step behind, so that the tensor cores
// always have the next product in their queue.
__device__ __forceinline__ void multiply_tile(Accumulator& sum, const Ring& ring, Position& at, const Work& work,
                                              int warpgroup) {
  const int first_row = first_row_of(warpgroup);
  int previous = 0;
  if (PRODUCT_PINGPONG) wait_for_turn(warpgroup);
  for (int step = work.step_first; step < work.step_last; ++step) {
    barrier_wait(ring.full + at.stage * 8, at.parity);
    const unsigned stage = ring.stages + at.stage * kStageBytes;
    const unsigned long long a = describe_rows(stage + first_row * kRowBytes);
    const unsigned long long b = describe_rows(stage + kTileBytesX);
    hopper_begin_multiply();
#pragma unroll
    for (int part = 0; part < kRowBytes / 32; ++part) {
#pragma unroll
      for (int i = 0; i < kBlocks; ++i)
        hopper_multiply(sum[i], a + part * 2 + i * (64 * kRowBytes / 16), b + part * 2,
                        step > work.step_first || part > 0);
    }
    hopper_end_multiply();
    if (step > work.step_first) {
      hopper_wait_multiply<1>();
      release_stage(ring, previous, work);
    }
    previous = at.stage;
    at.advance();
  }
  end_tile(sum, ring, work, warpgroup, previous);
}

#endif

#if PRODUCT_SPARSE

// The groups of neighbouring columns that a thread holds, one for each of its rows, and their place in the warpgroup's
// part of the tile.
constexpr int kGroups = PRODUCT_BM / 4;
constexpr int kWidth = 2 * kBlocks;
__device__ __forceinline__ void take_group(const Accumulator& sum, int group, ProductSum (&value)[kWidth]) {
#pragma unroll
  for (int c = 0; c < kWidth; ++c) value[c] = sum[c / 2][group / 2 * 4 + c % 2 * 2 + group % 2];
}
__device__ __forceinline__ int group_row(int group) {
  return group / 2 * 8 + (static_cast<int>(threadIdx.x) & 3) * 2 + group % 2;
}
__device__ __forceinline__ int group_column(int) { return (static_cast<int>(threadIdx.x) & 127) / 4 * kWidth; }

#else

// The groups of eight neighbouring columns that a thread holds, and their place in the warpgroup's part of the tile.
constexpr int kGroups = kBlocks * PRODUCT_BN / 16;
constexpr int kWidth = 8;
__device__ __forceinline__ void take_group(const Accumulator& sum, int group, ProductSum (&value)[8]) {
  const int i = group % (kBlocks * 2), j = group / (kBlocks * 2);
#pragma unroll
  for (int c = 0; c < 8; ++c) value[c] = sum[i / 2][j * 16 + (c / 2) * 4 + (i % 2) * 2 + c % 2];
}
__device__ __forceinline__ int group_row(int group) {
  const int i = group % (kBlocks * 2), thread = static_cast<int>(threadIdx.x) & 127;
  return 64 * (i / 2) + 16 * (thread / 32) + 8 * (i % 2) + thread % 32 / 4;
}
__device__ __forceinline__ int group_column(int group) {
  return 32 * (group / (kBlocks * 2)) + 8 * (static_cast<int>(threadIdx.x) & 3);
}

#endif
