// A bottleneck of residual networks on Hopper (sm_90a), of halves, BF16 or bytes: a 3x3 convolution of stride 1 whose
// pictures are padded by one zero all around, its epilogue, the 1x1 convolution of that, and its epilogue, which may
// add a shortcut. What lies between the convolutions stays in shared memory, and the ends of the second one, which are
// what takes time, run beside the products of others.
//
// All weights stay in shared memory; where one block has no room for them, the blocks of a cluster have some columns of
// each convolution, and send each other what lies between. A team is a warpgroup, and has lines of a picture at a time,
// the same in every block of the cluster: its input with the padding (the halo) comes by asynchronous copies while the
// outputs of the lines before are finished. Rows of the left operand are pixels one behind the other, those of the
// padding too, so that each tap has its rows in the same halo, a few pixels on: without swizzling a row may begin at
// any 16 bytes.
// Contract: product_contract.cuh, with the text of the first convolution's epilogue in namespace `middle`, and
//   BOTTLENECK_CHANNELS, _MIDDLE, _FILTERS   of the input, between the convolutions, of the output: multiples of 64,
//   the
//                             last one of 128
//   BOTTLENECK_HEIGHT, _WIDTH of a picture; no line is longer than 64
//   BOTTLENECK_TEAMS          of a block, 1 to 4
//   PRODUCT_NEAR              bytes of an element of the epilogue's operand that is loaded two blocks of columns ahead;
//                             0: none
// Launch: parameters (x, weights of both convolutions, y, BottleneckSizes, the epilogues' operands, what is loaded
// ahead)
//   grid    as many clusters as there is room for, at most one for each job
//   block   128 * TEAMS threads
//   shared  kSharedBytes
// Weights: for each sharer, then for each tap, the chunks of 16 bytes along k, each of all the sharer's rows, 32 of
// which lie in the order 8i + 2b + (0, 1) for b < 4, i < 4: a thread then holds eight neighbouring columns of a result.
#pragma once

#define PRODUCT_SHARERS BOTTLENECK_SHARERS
#define PRODUCT_SPLIT 1

constexpr int kTeamThreads = 128;
constexpr int kThreads = kTeamThreads * BOTTLENECK_TEAMS;
constexpr int kRows = 64, kColumns = PRODUCT_BN;  // of a product
constexpr int kElementBytes = static_cast<int>(sizeof(ProductInput));
constexpr int kTaps = 9;
constexpr int kChunkBytes = 16;
constexpr int kInputChunks = BOTTLENECK_CHANNELS * kElementBytes / kChunkBytes;
constexpr int kMiddleChunks = BOTTLENECK_MIDDLE * kElementBytes / kChunkBytes;
// Of a block.
constexpr int kMiddle = BOTTLENECK_MIDDLE / BOTTLENECK_SHARERS, kFilters = BOTTLENECK_FILTERS / BOTTLENECK_SHARERS;
constexpr int kMiddleBlocks = kMiddle / kColumns, kColumnBlocks = kFilters / kColumns;
static_assert(kColumns == 64 && BOTTLENECK_CHANNELS % 64 == 0 && kMiddle % kColumns == 0);
static_assert(kColumnBlocks % 2 == 0 && BOTTLENECK_WIDTH <= kRows);

// A job: as many lines as fit the rows of a product, with the padding between them.
constexpr int kLine = BOTTLENECK_WIDTH + 2;
constexpr int kMostLines = (kRows + 2) / kLine;
constexpr int kLines = kMostLines < BOTTLENECK_HEIGHT ? kMostLines : BOTTLENECK_HEIGHT;
constexpr int kJobsOfPicture = (BOTTLENECK_HEIGHT + kLines - 1) / kLines;

// Rows of a chunk, with some behind so that copies and stores of a warp meet all banks.
constexpr int kHaloLines = (kLines + 2) * kLine, kHaloReach = 2 * kLine + 2 + kRows;
constexpr int kHaloLeast = kHaloLines > kHaloReach ? kHaloLines : kHaloReach;
constexpr int kHaloRows = (kHaloLeast + 7) / 8 * 8 + (kInputChunks >= 8 ? 1 : 8 / kInputChunks);
constexpr int kMiddleRows = kRows + 4 / kElementBytes;

constexpr int kTapBytes = BOTTLENECK_CHANNELS * kMiddle * kElementBytes;
constexpr int kFirstBytes = kTaps * kTapBytes, kSecondBytes = BOTTLENECK_MIDDLE * kFilters * kElementBytes;
constexpr int kWeightBytes = kFirstBytes + kSecondBytes;
constexpr int kHaloBytes = kInputChunks * kHaloRows * kChunkBytes;
constexpr int kTeamBytes = kHaloBytes + kMiddleChunks * kMiddleRows * kChunkBytes;
constexpr int kBarrierBytes = 16;  // two of a team
constexpr int kSharedBytes = kWeightBytes + BOTTLENECK_TEAMS * (kTeamBytes + kBarrierBytes);

// On the host: 3 x 8 bytes, then 2 x 4 bytes. Pitches from pixel to pixel: of x and y in elements, of what is loaded
// ahead in bytes.
struct BottleneckSizes {
  long long x_pitch, y_pitch, near_pitch;
  int jobs, unused;
};

__device__ __forceinline__ void team_meets(int team) {
  if (team == 0) threads_meet<1, kTeamThreads>();
  if (team == 1) threads_meet<2, kTeamThreads>();
  if (team == 2) threads_meet<3, kTeamThreads>();
  if (team == 3) threads_meet<4, kTeamThreads>();
}

// The team's input of a job: zeros are its padding. A thread has one chunk of pixels at a constant distance.
__device__ __forceinline__ void copy_halo(unsigned halo, const ProductInput* x, long long pitch, int job) {
  const int picture = job / kJobsOfPicture, top = (job - picture * kJobsOfPicture) * kLines - 1;
  constexpr int kDistance = kTeamThreads / kInputChunks;
  static_assert(kTeamThreads % kInputChunks == 0);
  const int thread = static_cast<int>(threadIdx.x) % kTeamThreads, chunk = thread % kInputChunks;
  int row = thread / kInputChunks, line = row / kLine, column = row - line * kLine - 1;
  const ProductInput* const first =
      x + static_cast<long long>(picture * BOTTLENECK_HEIGHT + top) * BOTTLENECK_WIDTH * pitch +
      chunk * (kChunkBytes / kElementBytes);
  const unsigned to = halo + chunk * (kHaloRows * kChunkBytes);
#pragma unroll 1
  while (row < kHaloLines) {
    const bool inside =
        static_cast<unsigned>(top + line) < BOTTLENECK_HEIGHT && static_cast<unsigned>(column) < BOTTLENECK_WIDTH;
    copy_chunk(to + row * kChunkBytes, inside ? first + (line * BOTTLENECK_WIDTH + column) * pitch : x, inside);
    row += kDistance;
    line += kDistance / kLine;
    column += kDistance % kLine;
    if (column > BOTTLENECK_WIDTH) column -= kLine, ++line;
  }
  end_copies();
}

using Sums = ProductSum[HOPPER_N / 2];

// sum (+)= the product of the rows from `a` on and those from `b` on, over so many chunks; a_rows and b_rows are the
// rows of a chunk.
template <int kChunks>
__device__ __forceinline__ void multiply(Sums& sum, unsigned a, int a_rows, unsigned b, int b_rows, bool keep) {
  const unsigned long long left = hopper_describe_plain(a, a_rows), right = hopper_describe_plain(b, b_rows);
#pragma unroll
  for (int chunk = 0; chunk < kChunks; chunk += 2)
    hopper_multiply(sum, left + chunk * a_rows, right + chunk * b_rows, keep || chunk > 0);
}

__device__ __forceinline__ void settle(Sums& sum) {
#pragma unroll
  for (int i = 0; i < HOPPER_N / 2; ++i) hopper_settle(sum[i]);
}

// The eight neighbouring columns that a thread holds of row 8 * half of its own, in the columns from 32 * part on.
__device__ __forceinline__ void take(const Sums& sum, int part, int half, ProductSum (&value)[8]) {
#pragma unroll
  for (int c = 0; c < 8; ++c) value[c] = sum[part * 16 + (c / 2) * 4 + half * 2 + c % 2];
}
__device__ __forceinline__ int lane_column() { return static_cast<int>(threadIdx.x) % 4 * 8; }
__device__ __forceinline__ int lane_row() {
  return static_cast<int>(threadIdx.x) % kTeamThreads / 32 * 16 + static_cast<int>(threadIdx.x) % 32 / 4;
}

// Eight results of the first convolution.
using MiddleWords = Pack<kElementBytes * 2, unsigned>;
__device__ __forceinline__ MiddleWords words_of(const float (&value)[8], const middle::EpilogueOperands& operands) {
  MiddleWords words;
  ProductOutput* const to = reinterpret_cast<ProductOutput*>(&words);
#if PRODUCT_OUTPUT == PRODUCT_HALVES
  store_halves(to, value);
#else
  middle::store_finished(to, value, operands);
#endif
  return words;
}

// What a team has in shared memory, and its block's place in the cluster.
struct Team {
  int number;
  unsigned rank;
  unsigned halo, rows;          // and what is between the convolutions
  unsigned received, released;  // barriers: the other sharer's part of that is here; it needs ours no more
};

// Into the shared memory of all sharers.
__device__ __forceinline__ void store_middle(unsigned to, const Pack<2, unsigned>& words, const Team& team) {
  shared_store(to, words.values[0], words.values[1]);
  if (BOTTLENECK_SHARERS > 1) cluster_send(to, team.rank ^ 1, team.received, words.values[0], words.values[1]);
}
__device__ __forceinline__ void store_middle(unsigned to, const Pack<4, unsigned>& words, const Team& team) {
  shared_store(to, words.values[0], words.values[1], words.values[2], words.values[3]);
  if (BOTTLENECK_SHARERS > 1)
    cluster_send(to, team.rank ^ 1, team.received, words.values[0], words.values[1], words.values[2], words.values[3]);
}

// The first convolution of the halo, from shared memory to shared memory: there its pixels lie without the padding
// between lines. `parity`: of the number of jobs before.
__device__ __forceinline__ void convolve(const Team& team, unsigned weights, unsigned parity,
                                         const middle::EpilogueOperands& operands) {
  Sums sum[kMiddleBlocks];
  // What describes the operands of all taps would take all registers.
  constexpr int kTapsAtOnce = kInputChunks > 4 ? 1 : 3;
#pragma unroll 1
  for (int down = 0; down < 3; ++down) {
#pragma unroll kTapsAtOnce
    for (int across = 0; across < 3; ++across) {
      hopper_begin_multiply();
      const unsigned rows = team.halo + (down * kLine + across) * kChunkBytes;
      const unsigned of_tap = weights + (down * 3 + across) * kTapBytes;
#pragma unroll
      for (int block = 0; block < kMiddleBlocks; ++block)
        multiply<kInputChunks>(sum[block], rows, kHaloRows, of_tap + block * kColumns * kChunkBytes, kMiddle,
                               down + across > 0);
      hopper_end_multiply();
    }
  }
  hopper_wait_multiply<0>();
#pragma unroll
  for (int block = 0; block < kMiddleBlocks; ++block) settle(sum[block]);
  if (BOTTLENECK_SHARERS > 1) barrier_wait(team.released, parity ^ 1);
#pragma unroll
  for (int part = 0; part < kMiddle / 32; ++part) {
    const int column = static_cast<int>(team.rank) * kMiddle + part * 32 + lane_column();
    middle::SumMeaning<8> meaning;
    middle::load_meaning(meaning, operands, column);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = lane_row() + half * 8, line = row / kLine, place = row - line * kLine;
      ProductSum own[8];
      float value[8];
      take(sum[part / 2], part % 2, half, own);
      middle::real_sums(own, value, meaning, middle::row_meaning(operands, 0));
      middle::epilogue_of(value, operands, 0, column);
      const unsigned byte = static_cast<unsigned>(column) * kElementBytes;
      const unsigned to = team.rows + byte / kChunkBytes * (kMiddleRows * kChunkBytes) +
                          (row - 2 * line) * kChunkBytes + byte % kChunkBytes;
      if (line < kLines && place < BOTTLENECK_WIDTH) store_middle(to, words_of(value, operands), team);
    }
  }
  shared_writes_end();
  team_meets(team.number);  // and nobody multiplies the halo any more
  if (BOTTLENECK_SHARERS > 1) {
    if (threadIdx.x % kTeamThreads == 0)
      barrier_expect(team.received, kLines * BOTTLENECK_WIDTH * kMiddle * kElementBytes);
    barrier_wait(team.received, parity);
    shared_writes_end();
  }
}

#if PRODUCT_NEAR

// Of a block of columns, what a thread adds to its results.
struct Ahead {
  Pack<PRODUCT_NEAR * 2, unsigned> words[4];
};
struct AheadOfGroup {
  const Pack<PRODUCT_NEAR * 2, unsigned>& words;
  template <class T, int N>
  __device__ __forceinline__ void load(const T*, long long, int, float (&to)[N]) const {
    ::load(reinterpret_cast<const T*>(&words), to);
  }
};
__device__ __forceinline__ AheadOfGroup group_of(const Ahead& ahead, int group) { return {ahead.words[group]}; }

#else

struct Ahead {};
__device__ __forceinline__ NothingNear group_of(const Ahead&, int) { return {}; }

#endif

// The pixels of a job, as a thread has them: two rows of 64, of which the first `count` there are.
struct Pixels {
  int first, count;
  __device__ __forceinline__ int row(int half) const { return lane_row() + half * 8; }
  // The same for all threads of a warp.
  __device__ __forceinline__ bool has_some(int half) const {
    return static_cast<int>(threadIdx.x) % kTeamThreads / 32 * 16 + half * 8 < count;
  }
  __device__ __forceinline__ int pixel(int half) const { return first + min(row(half), count - 1); }
};

__device__ __forceinline__ Pixels pixels_of(int job) {
  const int picture = job / kJobsOfPicture, line = (job - picture * kJobsOfPicture) * kLines;
  return {(picture * BOTTLENECK_HEIGHT + line) * BOTTLENECK_WIDTH,
          min(kLines, BOTTLENECK_HEIGHT - line) * BOTTLENECK_WIDTH};
}

// `first`: of the block's columns, in the block of columns.
__device__ __forceinline__ void load_ahead(Ahead& ahead, const unsigned char* near, long long pitch,
                                           const Pixels& pixels, int first) {
#if PRODUCT_NEAR
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const unsigned char* const from = near + pixels.pixel(half) * pitch + (first + lane_column()) * PRODUCT_NEAR;
#pragma unroll
    for (int part = 0; part < 2; ++part)
      ahead.words[part * 2 + half] =
          *reinterpret_cast<const Pack<PRODUCT_NEAR * 2, unsigned>*>(from + part * 32 * PRODUCT_NEAR);
  }
#endif
}

// A block of columns of the second convolution, from column `first` on.
__device__ __forceinline__ void expand(unsigned rows, unsigned weights, ProductOutput* y, long long pitch,
                                       const EpilogueOperands& operands, const Pixels& pixels, int first,
                                       const Ahead& ahead) {
  Sums sum;
  hopper_begin_multiply();
  multiply<kMiddleChunks>(sum, rows, kMiddleRows, weights, kFilters, false);
  hopper_end_multiply();
  SumMeaning<8> meaning;
  load_meaning(meaning, operands, first + lane_column());
  hopper_wait_multiply<0>();
  settle(sum);
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    const int column = first + part * 32 + lane_column();
    if (part > 0) load_meaning(meaning, operands, column);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (!pixels.has_some(half)) continue;
      const int pixel = pixels.pixel(half);
      ProductSum own[8];
      float value[8];
      take(sum, part, half, own);
      real_sums(own, value, meaning, row_meaning(operands, pixel));
      epilogue_of(value, operands, pixel, column, group_of(ahead, part * 2 + half));
      if (pixels.row(half) < pixels.count) store_neighbours(y + pixel * pitch + column, value, operands);
    }
  }
}

__device__ __forceinline__ void copy_weights(unsigned to, const unsigned char* from, int bytes) {
  for (int byte = static_cast<int>(threadIdx.x) * kChunkBytes; byte < bytes; byte += kThreads * kChunkBytes)
    copy_chunk(to + byte, from + byte, true);
}

#if BOTTLENECK_SHARERS > 1 && !defined(HUSSAR_EMULATED)
#define PRODUCT_CLUSTER __cluster_dims__(BOTTLENECK_SHARERS, 1, 1)
#else
#define PRODUCT_CLUSTER
#endif

extern "C" __global__ void __launch_bounds__(kThreads, 1) PRODUCT_CLUSTER
    hussar_bottleneck(const ProductInput* x, const unsigned char* first_weights, const unsigned char* second_weights,
                      ProductOutput* y, const __grid_constant__ BottleneckSizes sizes,
                      const __grid_constant__ middle::EpilogueOperands middle_operands,
                      const __grid_constant__ EpilogueOperands operands, const unsigned char* near) {
  extern __shared__ __align__(128) unsigned char shared[];
  const unsigned weights = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  Team team;
  // The compiler sees that it is the same for a warp.
  team.number = __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x) / kTeamThreads, 0);
  team.rank = BOTTLENECK_SHARERS > 1 ? cluster_rank() : 0;
  team.halo = weights + kWeightBytes + team.number * kTeamBytes;
  team.rows = team.halo + kHaloBytes;
  team.received = weights + kWeightBytes + BOTTLENECK_TEAMS * kTeamBytes + team.number * kBarrierBytes;
  team.released = team.received + 8;
  copy_weights(weights, first_weights + team.rank * kFirstBytes, kFirstBytes);
  copy_weights(weights + kFirstBytes, second_weights + team.rank * kSecondBytes, kSecondBytes);
  end_copies();
  if (BOTTLENECK_SHARERS > 1 && threadIdx.x % kTeamThreads == 0) {
    barrier_init(team.received, 1);
    barrier_init(team.released, kTeamThreads);
    barrier_init_done();
  }
  product_allow_next_kernel();
  product_wait_for_earlier_kernels();
  // Teams of one block are far from each other, so that the last jobs are spread over all blocks.
  const int clusters = static_cast<int>(gridDim.x) / BOTTLENECK_SHARERS;
  int job = team.number * clusters + static_cast<int>(blockIdx.x) / BOTTLENECK_SHARERS;
  if (job < sizes.jobs) copy_halo(team.halo, x, sizes.x_pitch, job);
  wait_for_copies<0>();
  shared_writes_end();
  __syncthreads();
  if (BOTTLENECK_SHARERS > 1) cluster_meet();
  const int first = static_cast<int>(team.rank) * kFilters;
  unsigned parity = 0;
  for (; job < sizes.jobs; parity ^= 1) {
    const Pixels pixels = pixels_of(job);
    Ahead ahead[2];
    load_ahead(ahead[0], near, sizes.near_pitch, pixels, first);
    load_ahead(ahead[1], near, sizes.near_pitch, pixels, first + kColumns);
    convolve(team, weights, parity, middle_operands);
    job += clusters * BOTTLENECK_TEAMS;
    if (job < sizes.jobs) copy_halo(team.halo, x, sizes.x_pitch, job);
#pragma unroll 1
    for (int block = 0; block < kColumnBlocks; block += 2) {
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        const int column = (block + odd) * kColumns;
        expand(team.rows, weights + kFirstBytes + column * kChunkBytes, y, sizes.y_pitch, operands, pixels,
               first + column, ahead[odd]);
        if (block + odd + 2 < kColumnBlocks)
          load_ahead(ahead[odd], near, sizes.near_pitch, pixels, first + column + 2 * kColumns);
      }
    }
    if (BOTTLENECK_SHARERS > 1) barrier_arrive_at(team.released, team.rank ^ 1);
    wait_for_copies<0>();
    shared_writes_end();
    team_meets(team.number);  // and nobody multiplies what was between
  }
  if (BOTTLENECK_SHARERS > 1) cluster_meet_only();  // no block leaves while the other may write to it
}
