// Matrix product for Hopper (sm_90a), FP16, BF16, TF32 and bytes: the copy engine (TMA) fills a ring of shared-memory stages
// guarded by mbarriers; one warpgroup issues the copies and gives its registers to two that multiply (wgmma). Blocks
// are persistent: the copies of the next tile run under the epilogue of this one. The scheme is that of CUTLASS 3's
// warp-specialized kernels. Contract: product_contract.cuh, with
//   PRODUCT_BM, PRODUCT_BN    the tile. BN is 64, 96, 128, 192 or 256
//   PRODUCT_PINGPONG          0: both warpgroups share a tile (BM / 2 rows each). 1: they take turns at tiles, the
//                             epilogue of one under the products of the other. A warpgroup's rows are 64 or 128, and
//                             rows * BN <= 16,384
//   PRODUCT_STAGES            stages of the ring
//   PRODUCT_BLOCKS_PER_SM     2: half the registers, so that two blocks fit a multiprocessor if their rings do
//                             (a warpgroup's rows * BN <= 4,096). Default 1
//   PRODUCT_CLUSTER_M, _N     blocks of a cluster, one above the other (they share W's tile) or side by side (they
//                             share X's): each loads its share of the common tile for all (multicast). Default 1, 1
//   PRODUCT_ROW_BYTES         of a row of X and W that a stage holds: 128, or 64 where k, or a tap, has no more. Not
//                             with SPARSE. Default 128
//   PRODUCT_SPLIT             blocks of a cluster that share the k of one tile, for products with few tiles: 2, 4 or 8
//                             (default 1; not with PINGPONG or CLUSTER_*). Each finishes BM / SPLIT rows; partial sums
//                             are added in the order of k: results never differ from run to run
//   PRODUCT_WINDOWS           1: rows of X are windows of pictures (implicit GEMM); with CONV_CHANNELS,
//                             CONV_KERNEL_1, CONV_KERNEL_2 (taps, down and across). k is taps * channels: its blocks
//                             are of one tap each, so that a tap has ceil(channels / K) of them. Default 0
//   PRODUCT_SPARSE            1: of each four of k that follow one another W has two at most. Not of floats. Then W is
//                             the left operand of the products: the tensor cores' rows are its rows, columns are rows
//                             of X. BN is 128, or 256 without PINGPONG; a warpgroup's share of it is kGroupN. Not
//                             with SPLIT
//   PRODUCT_NEAR              1 or 2: bytes of an element of the epilogue's operand that the copy engine brings, tiles
//                             two ahead, so that nothing waits for the memory behind the products. BN elements are 128
//                             bytes or a multiple. Not with SPLIT or SPARSE. Default 0: none
//
// Launch: parameters (TensorMap of X, TensorMap of W, y, ProductProblem, EpilogueOperands[, TensorMap of what is
// brought near][, places][, WindowSteps], rows) in this order; *rows of the m rows are needed, the first ones, and what
// is behind their last tile is not computed; null: all are
//   grid    CLUSTER_M * CLUSTER_N * SPLIT * clusters. There are ceil(ceil(m / BM) / CLUSTER_M) *
//           ceil(ceil(n / BN) / CLUSTER_N) * batch groups of tiles: a cluster for each, but without SPLIT at most as
//           many as fit the GPU at once (they walk the rest). The cluster's size is part of the kernel
//   block   384 threads
//   shared  1024 + STAGES * ((BM + BN (sparse: BN / 2)) * ROW_BYTES + 16) bytes, dynamic; with NEAR 2 * (BM * BN * NEAR
//           + 16) more
// Tensor maps: FLOAT16, BFLOAT16, TFLOAT32 (it rounds) for floats, UINT8 for bytes of either sign; no interleave, a swizzle of
// ROW_BYTES, zeros out of bounds.
// B = bytes of an element, K = ROW_BYTES / B:
//   X: rank 3, dims {k, m, batch}, strides {x_pitch B, x_stride B}, box {K, BM / CLUSTER_N, 1}
//   W: rank 5, dims {k, 2, n / 8, 4, batch}, strides {w_pitch B, 8 w_pitch B, 2 w_pitch B, w_stride B},
//      box {K, 2, 4, 4, 1}
//   X with PRODUCT_WINDOWS: an im2col map of rank 4, dims {channels, width, height, pictures}, lower corner -pads, an
//      upper corner that leaves as many places as there are rows and columns of output, K channels and
//      BM / CLUSTER_N pixels, element strides {1, stride, stride, 1}
// Sparse W: rank 3, dims {k / 2, n, 1} of the elements that there are, of whole groups of kGroupN rows, box
//   {K / 2, BN / CLUSTER_M, 1}, SWIZZLE_64B. In a group, row 64i + 16w + 8h + l (w < 4, l < 8, h < 2) is row
//   (8w + l) * kGroupN / 32 + 2i + h of the matrix: a thread then holds neighbouring columns of the result. `places`,
//   [rows / 64][ceil(k / 2K)][128 threads][words of 64 of k] says where the elements are: hopper_multiply_sparse.
// A map of X may name more rows than m: rows from m on are computed and dropped.
// What is brought near: rank 3, dims {n, m, batch}, box {128 / NEAR, BM, 1}, a swizzle of 128 bytes.
//
// W's map reads 32 rows in the order 8i + 2b + (0, 1) for b < 4, i < 4: a thread then holds eight neighbouring columns
// of the result and nothing has to be exchanged before the epilogue.
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
};

// m: rows that are needed, all or the first ones.
__device__ __forceinline__ Work make_work(const ProductProblem& problem, int m) {
  constexpr int kCluster = PRODUCT_SHARERS * PRODUCT_SPLIT;
  Work work;
  work.rank = kCluster > 1 ? static_cast<int>(cluster_rank()) : 0;
  work.rank_m = work.rank % PRODUCT_CLUSTER_M;
  work.rank_n = PRODUCT_CLUSTER_N > 1 ? work.rank / PRODUCT_CLUSTER_M : 0;
  constexpr int kRows = PRODUCT_BM * PRODUCT_CLUSTER_M, kColumns = PRODUCT_BN * PRODUCT_CLUSTER_N;
  work.row_groups = (m + kRows - 1) / kRows;
  work.column_groups = (product_n(problem) + kColumns - 1) / kColumns;
  work.groups = work.row_groups * work.column_groups * problem.batch;
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

__device__ __forceinline__ Place make_place(const Work& work, int group) {
  const int per_entry = work.row_groups * work.column_groups;
  const int entry = group < per_entry ? 0 : group / per_entry;
  const ProductTile tile = product_tile(group - entry * per_entry, work.row_groups, work.column_groups);
  return {entry, (tile.row * PRODUCT_CLUSTER_M + work.rank_m) * PRODUCT_BM,
          (tile.column * PRODUCT_CLUSTER_N + work.rank_n) * PRODUCT_BN};
}

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
    tensor_copy<PRODUCT_CLUSTER_M>(ring.stages + stage * kStageBytes + kTileBytesX + first * kRowBytes, map,
                                   ring.full + stage * 8, first_of_w(step), 0, (place.column + first) / 8, 0,
                                   place.entry, static_cast<unsigned short>(mask));
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

#if PRODUCT_SPLIT > 1

// A block finishes some slabs of 16 rows. A slab's sums are kept as its warp held them, a piece of 8 rows x 32 columns
// after the other and twice 16 bytes per thread, so that a warp writes and reads 512 bytes in a row.
constexpr int kSplitRows = PRODUCT_BM / PRODUCT_SPLIT;
constexpr int kSlabs = kSplitRows / 16;
constexpr int kPieces = PRODUCT_BN / 16;
static_assert(kSplitRows % 16 == 0);

// Where the partial sums from block `rank` lie: over the ring, which is no longer needed.
__device__ __forceinline__ unsigned partial_place(const Ring& ring, int rank, int slab, int piece, int half, int lane) {
  return ring.stages + ((((rank * kSlabs + slab) * kPieces + piece) * 2 + half) * 32 + lane) * 16;
}

__device__ __forceinline__ void sum_partials(const Ring& ring, int slab, int piece, int lane, ProductSum (&value)[8]) {
#pragma unroll
  for (int rank = 0; rank < PRODUCT_SPLIT; ++rank) {
    unsigned part[8];
#pragma unroll
    for (int half = 0; half < 2; ++half)
      shared_load(partial_place(ring, rank, slab, piece, half, lane), part[half * 4], part[half * 4 + 1],
                  part[half * 4 + 2], part[half * 4 + 3]);
#pragma unroll
    for (int c = 0; c < 8; ++c) value[c] = rank == 0 ? sum_of(part[c]) : value[c] + sum_of(part[c]);
  }
}

// Adds the cluster's partial sums: every block sends each other block its rows, then finishes its own.
__device__ __forceinline__ void finish_split(Accumulator& sum, const Ring& ring, const Work& work, const Place& place,
                                             int first_row, bool whole, ProductOutput* y, const ProductProblem& problem,
                                             const EpilogueOperands& operands) {
  if (work.step_last == work.step_first) {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i)
#pragma unroll
      for (int j = 0; j < PRODUCT_BN / 2; ++j) sum[i][j] = 0;
  }
  cluster_meet_only();  // every ring is at rest
  const int warp = static_cast<int>(threadIdx.x) / 32 % 4, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    ProductSum value[8];
    take_group(sum, group, value);
    const int slab = first_row / 16 + 4 * (group % (kBlocks * 2) / 2) + warp;
    const int piece = group / (kBlocks * 2) * 2 + group % 2;
    const unsigned to = static_cast<unsigned>(slab / kSlabs);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      cluster_store(partial_place(ring, work.rank, slab % kSlabs, piece, half, lane), to, word_of(value[half * 4]),
                    word_of(value[half * 4 + 1]), word_of(value[half * 4 + 2]), word_of(value[half * 4 + 3]));
  }
  cluster_meet();  // every partial sum has arrived
  constexpr int kWarps = kMultiplyingThreads / 32;
  constexpr int kAll = kSlabs * kPieces;  // a piece at a time for each warp
  constexpr int kMine = (kAll + kWarps - 1) / kWarps;
  static_assert(kMine * kWarps == kAll || kMine == 1);
  const int first = static_cast<int>(threadIdx.x) / 32;
  if (first >= kAll) return;
  product_finish<kMine, kWidth, false>(
      y, problem, operands, place.entry, whole,
      [&](int group, ProductSum(&value)[8]) {
        const int item = first + group * kWarps;
        sum_partials(ring, item / kPieces, item % kPieces, lane, value);
      },
      [&](int group) {
        const int item = first + group * kWarps;
        return place.row + work.rank * kSplitRows + item / kPieces * 16 + item % 2 * 8 + lane / 4;
      },
      [&](int group) { return place.column + (first + group * kWarps) % kPieces / 2 * 32 + lane % 4 * 8; });
}

#endif

// What a multiplying warpgroup (0 or 1) does.
__device__ __forceinline__ void consume(const Ring& ring, const Work& work, int warpgroup, ProductOutput* y,
                                        const ProductProblem& problem, const EpilogueOperands& operands,
                                        const unsigned char* places, const unsigned char* near_tiles) {
  product_wait_for_earlier_kernels();
  const int steps = work.step_last - work.step_first;
  Position at = {0, 0};
  if (PRODUCT_PINGPONG && warpgroup == 1) {
    at.advance(steps);  // the first tile is the other's
    give_turn(0);
  }
  constexpr int kTurns = PRODUCT_PINGPONG ? 2 : 1;
#if PRODUCT_NEAR
  unsigned turn = PRODUCT_PINGPONG ? static_cast<unsigned>(warpgroup) : 0;
#endif
  for (int group = work.first + (PRODUCT_PINGPONG ? warpgroup * work.stride : 0); group < work.groups;
       group += kTurns * work.stride) {
    const Place place = make_place(work, group);
    Accumulator sum;
#if PRODUCT_SPARSE
    multiply_tile(sum, ring, at, work, warpgroup, places_of(places, problem, place, warpgroup));
#else
    multiply_tile(sum, ring, at, work, warpgroup);
#endif
    if (PRODUCT_PINGPONG) at.advance(steps);  // the other's tile
    const bool whole = place.row + PRODUCT_BM <= problem.m && place.column + PRODUCT_BN <= product_n(problem);
#if PRODUCT_SPLIT > 1
    finish_split(sum, ring, work, place, first_row_of(warpgroup), whole, y, problem, operands);
#else
    const int first_column = PRODUCT_SPARSE && !PRODUCT_PINGPONG ? warpgroup * kGroupN : 0;
#if PRODUCT_NEAR
    const unsigned slot = turn & 1u;
    barrier_wait(ring.near_full + slot * 8, turn >> 1 & 1u);
    const Near near = {near_tiles + slot * kNearTileBytes, static_cast<long long>(place.entry) * problem.m + place.row,
                       place.column};
#else
    constexpr NothingNear near = {};
#endif
    product_finish<kGroups, kWidth, PRODUCT_SPARSE>(
        y, problem, operands, place.entry, whole,
        [&](int group, ProductSum(&value)[kWidth]) { take_group(sum, group, value); },
        [&](int group) { return place.row + first_row_of(warpgroup) + group_row(group); },
        [&](int group) { return place.column + first_column + group_column(group); }, near);
#if PRODUCT_NEAR
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(ring.near_empty + slot * 8);
    turn += kTurns;
#endif
#endif
  }
}

#if PRODUCT_SHARERS * PRODUCT_SPLIT > 1 && !defined(HUSSAR_EMULATED)
#define PRODUCT_CLUSTER __cluster_dims__(PRODUCT_SHARERS * PRODUCT_SPLIT, 1, 1)
#else
#define PRODUCT_CLUSTER
#endif

extern "C" __global__ void __launch_bounds__(kThreads, PRODUCT_BLOCKS_PER_SM) PRODUCT_CLUSTER
        PRODUCT_KERNEL(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,
                       ProductOutput* y, const __grid_constant__ ProductProblem problem,
                       const __grid_constant__ EpilogueOperands operands
#if PRODUCT_NEAR
                       ,
                       const __grid_constant__ TensorMap near_map
#endif
#if PRODUCT_SPARSE
                       ,
                       const unsigned char* places
#endif
#if PRODUCT_WINDOWS
                       ,
                       const __grid_constant__ WindowSteps windows
#endif
                       ,
                       const int* rows) {
#if !PRODUCT_WINDOWS
  constexpr WindowSteps windows{};
#endif
#if !PRODUCT_SPARSE
  constexpr const unsigned char* places = nullptr;
#endif
  extern __shared__ unsigned char shared[];
  Ring ring;
  const unsigned begin = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  ring.stages = (begin + 1023u) & ~1023u;
  ring.near_tiles = ring.stages + kRingBytes;
  ring.full = ring.near_tiles + 2 * kNearTileBytes;
  ring.empty = ring.full + 8 * PRODUCT_STAGES;
  ring.near_full = ring.empty + 8 * PRODUCT_STAGES;
  ring.near_empty = ring.near_full + 16;
  if (threadIdx.x == 0) {
    tensor_prefetch(x_map);
    tensor_prefetch(w_map);
    for (int s = 0; s < PRODUCT_STAGES; ++s) {
      barrier_init(ring.full + 8 * s, 1);
      barrier_init(ring.empty + 8 * s, kSignals * kReadersWarps);
    }
#if PRODUCT_NEAR
    tensor_prefetch(near_map);
    for (int slot = 0; slot < 2; ++slot) {
      barrier_init(ring.near_full + 8 * slot, 1);
      barrier_init(ring.near_empty + 8 * slot, kReadersWarps);
    }
#endif
    barrier_init_done();
  }
  product_allow_next_kernel();
  int m = problem.m;
  // Which tile comes first depends on it. It has been there since before the kernel in front began (token_order.cuh),
  // and is read past this multiprocessor's cache, so that weights are on their way while that one still runs.
  if (rows != nullptr) m = min(m, max(*static_cast<const volatile int*>(rows), 0));
  const Work work = make_work(problem, m);
  if constexpr (PRODUCT_SHARERS * PRODUCT_SPLIT > 1) {
    __syncwarp();
    cluster_meet_only();
  } else {
    __syncthreads();
  }

  // All of the cluster leave, before any of them waits for another.
  if (PRODUCT_SPLIT > 1 && work.first >= work.groups) {
    product_wait_for_earlier_kernels();  // who waits for this kernel waits for those, too
    return;
  }
  if (threadIdx.x < kMultiplyingThreads) {
    registers_take<kMultiplyingRegisters>();
    consume(ring, work, static_cast<int>(threadIdx.x) / 128, y, problem, operands, places,
            shared + (ring.near_tiles - begin));
  } else {
    registers_give<kCopyingRegisters>();
#if PRODUCT_NEAR
    const TensorMap* const near = &near_map;
#else
    constexpr const TensorMap* near = nullptr;
#endif
    if (threadIdx.x == kMultiplyingThreads) produce(ring, x_map, w_map, near, work, windows);
    __syncwarp();
#if PRODUCT_SPLIT > 1
    cluster_meet_only();  // as in finish_split
    cluster_meet();
#endif
  }
  if constexpr (PRODUCT_SHARERS > 1) cluster_meet_only();  // no block leaves while others may signal it
}
