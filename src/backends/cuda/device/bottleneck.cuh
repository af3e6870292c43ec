// A bottleneck of residual networks on Hopper (sm_90a), of halves, BF16 or bytes: a 3x3 convolution of stride 1 whose
// pictures are padded by one zero all around, its epilogue, the 1x1 convolution of that, and its epilogue, which may
// add a shortcut. What lies between the convolutions stays in shared memory, and the ends of the second one, which are
// what takes time, run beside the products of others.
//
// All weights stay in shared memory. A team is a warpgroup, and has lines of a picture at a time: its input with the
// padding (the halo) comes by asynchronous copies while the outputs of the lines before are finished. Rows of the
// left operand are pixels one behind the other, those of the padding too, so that each tap has its rows in the
// same halo, a few pixels on: without swizzling a row may begin at any 16 bytes.
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
//   grid    as many blocks as there are multiprocessors, at most one for each job
//   block   128 * TEAMS threads
//   shared  kSharedBytes
// Weights: for each tap, then of the second convolution, the chunks of 16 bytes along k, each of all rows, 32 of which
// lie in the order 8i + 2b + (0, 1) for b < 4, i < 4: a thread then holds eight neighbouring columns of a result.
#pragma once

#define PRODUCT_SHARERS 1
#define PRODUCT_SPLIT 1

constexpr int kTeamThreads = 128;
constexpr int kThreads = kTeamThreads * BOTTLENECK_TEAMS;
constexpr int kRows = 64, kColumns = PRODUCT_BN;  // of a product
constexpr int kElementBytes = static_cast<int>(sizeof(ProductInput));
constexpr int kTaps = 9;
constexpr int kChunkBytes = 16;
constexpr int kInputChunks = BOTTLENECK_CHANNELS * kElementBytes / kChunkBytes;
constexpr int kMiddleChunks = BOTTLENECK_MIDDLE * kElementBytes / kChunkBytes;
constexpr int kMiddleBlocks = BOTTLENECK_MIDDLE / kColumns, kColumnBlocks = BOTTLENECK_FILTERS / kColumns;
static_assert(kColumns == 64 && BOTTLENECK_CHANNELS % 64 == 0 && BOTTLENECK_MIDDLE % kColumns == 0);
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

constexpr int kTapBytes = BOTTLENECK_CHANNELS * BOTTLENECK_MIDDLE * kElementBytes;
constexpr int kFirstBytes = kTaps * kTapBytes;
constexpr int kWeightBytes = kFirstBytes + BOTTLENECK_MIDDLE * BOTTLENECK_FILTERS * kElementBytes;
constexpr int kHaloBytes = kInputChunks * kHaloRows * kChunkBytes;
constexpr int kTeamBytes = kHaloBytes + kMiddleChunks * kMiddleRows * kChunkBytes;
constexpr int kSharedBytes = kWeightBytes + BOTTLENECK_TEAMS * kTeamBytes;

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

// What each thread has written to shared memory, or has had copied there, can be multiplied.
__device__ __forceinline__ void share_with_products(int team) {
  shared_writes_end();
  team_meets(team);
}

// The team's input of a job: zeros are its padding.
__device__ __forceinline__ void copy_halo(unsigned halo, const ProductInput* x, long long pitch, int job) {
  const int picture = job / kJobsOfPicture, top = (job - picture * kJobsOfPicture) * kLines - 1;
  const ProductInput* const first =
      x + (static_cast<long long>(picture) * BOTTLENECK_HEIGHT + top) * BOTTLENECK_WIDTH * pitch;
  constexpr int kCopies = kHaloLines * kInputChunks;
#pragma unroll 1
  for (int copy = static_cast<int>(threadIdx.x) % kTeamThreads; copy < kCopies; copy += kTeamThreads) {
    const int row = copy / kInputChunks, chunk = copy - row * kInputChunks;
    const int line = row / kLine, column = row - line * kLine - 1;
    const bool inside =
        static_cast<unsigned>(top + line) < BOTTLENECK_HEIGHT && static_cast<unsigned>(column) < BOTTLENECK_WIDTH;
    const ProductInput* const from =
        first + (line * BOTTLENECK_WIDTH + column) * pitch + chunk * (kChunkBytes / kElementBytes);
    copy_chunk(halo + (chunk * kHaloRows + row) * kChunkBytes, inside ? from : x, inside);
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

__device__ __forceinline__ void store_middle(ProductOutput* to, const float (&value)[8],
                                             const middle::EpilogueOperands& operands) {
#if PRODUCT_OUTPUT == PRODUCT_HALVES
  store_halves(to, value);
#else
  middle::store_finished(to, value, operands);
#endif
}

// The first convolution of the halo, from shared memory to shared memory: there its pixels lie without the padding
// between lines.
__device__ __forceinline__ void convolve(unsigned halo, unsigned weights, unsigned char* to,
                                         const middle::EpilogueOperands& operands) {
  Sums sum[kMiddleBlocks];
  // What describes the operands of all taps would take all registers.
  constexpr int kTapsAtOnce = kInputChunks > 4 ? 1 : 3;
#pragma unroll 1
  for (int down = 0; down < 3; ++down) {
#pragma unroll kTapsAtOnce
    for (int across = 0; across < 3; ++across) {
      hopper_begin_multiply();
      const unsigned rows = halo + (down * kLine + across) * kChunkBytes;
      const unsigned of_tap = weights + (down * 3 + across) * kTapBytes;
#pragma unroll
      for (int block = 0; block < kMiddleBlocks; ++block)
        multiply<kInputChunks>(sum[block], rows, kHaloRows, of_tap + block * kColumns * kChunkBytes, BOTTLENECK_MIDDLE,
                               down + across > 0);
      hopper_end_multiply();
    }
  }
  hopper_wait_multiply<0>();
#pragma unroll
  for (int block = 0; block < kMiddleBlocks; ++block) settle(sum[block]);
#pragma unroll
  for (int part = 0; part < BOTTLENECK_MIDDLE / 32; ++part) {
    const int column = part * 32 + lane_column();
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
      const int byte = column * kElementBytes;
      if (line < kLines && place < BOTTLENECK_WIDTH)
        store_middle(reinterpret_cast<ProductOutput*>(to + byte / kChunkBytes * (kMiddleRows * kChunkBytes) +
                                                      (row - 2 * line) * kChunkBytes + byte % kChunkBytes),
                     value, operands);
    }
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

__device__ __forceinline__ void load_ahead(Ahead& ahead, const unsigned char* near, long long pitch,
                                           const Pixels& pixels, int block) {
#if PRODUCT_NEAR
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const unsigned char* const from =
        near + pixels.pixel(half) * pitch + (block * kColumns + lane_column()) * PRODUCT_NEAR;
#pragma unroll
    for (int part = 0; part < 2; ++part)
      ahead.words[part * 2 + half] =
          *reinterpret_cast<const Pack<PRODUCT_NEAR * 2, unsigned>*>(from + part * 32 * PRODUCT_NEAR);
  }
#endif
}

// A block of columns of the second convolution.
__device__ __forceinline__ void expand(unsigned rows, unsigned weights, ProductOutput* y, long long pitch,
                                       const EpilogueOperands& operands, const Pixels& pixels, int block,
                                       const Ahead& ahead) {
  Sums sum;
  hopper_begin_multiply();
  multiply<kMiddleChunks>(sum, rows, kMiddleRows, weights + block * kColumns * kChunkBytes, BOTTLENECK_FILTERS, false);
  hopper_end_multiply();
  SumMeaning<8> meaning;
  load_meaning(meaning, operands, block * kColumns + lane_column());
  hopper_wait_multiply<0>();
  settle(sum);
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    const int column = block * kColumns + part * 32 + lane_column();
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

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    hussar_bottleneck(const ProductInput* x, const unsigned char* first_weights, const unsigned char* second_weights,
                      ProductOutput* y, const __grid_constant__ BottleneckSizes sizes,
                      const __grid_constant__ middle::EpilogueOperands middle_operands,
                      const __grid_constant__ EpilogueOperands operands, const unsigned char* near) {
  extern __shared__ __align__(128) unsigned char shared[];
  const unsigned weights = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  // The compiler sees that it is the same for a warp.
  const int team = __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x) / kTeamThreads, 0);
  const unsigned halo = weights + kWeightBytes + team * kTeamBytes, rows = halo + kHaloBytes;
  unsigned char* const middle_rows = shared + kWeightBytes + team * kTeamBytes + kHaloBytes;
  for (int byte = static_cast<int>(threadIdx.x) * kChunkBytes; byte < kFirstBytes; byte += kThreads * kChunkBytes)
    copy_chunk(weights + byte, first_weights + byte, true);
  for (int byte = static_cast<int>(threadIdx.x) * kChunkBytes; byte < kWeightBytes - kFirstBytes;
       byte += kThreads * kChunkBytes)
    copy_chunk(weights + kFirstBytes + byte, second_weights + byte, true);
  end_copies();
  product_allow_next_kernel();
  product_wait_for_earlier_kernels();
  // Teams of one block are far from each other, so that the last jobs are spread over all blocks.
  const int stride = static_cast<int>(gridDim.x) * BOTTLENECK_TEAMS;
  int job = team * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  if (job < sizes.jobs) copy_halo(halo, x, sizes.x_pitch, job);
  wait_for_copies<0>();
  shared_writes_end();
  __syncthreads();
  while (job < sizes.jobs) {
    const Pixels pixels = pixels_of(job);
    Ahead ahead[2];
    load_ahead(ahead[0], near, sizes.near_pitch, pixels, 0);
    load_ahead(ahead[1], near, sizes.near_pitch, pixels, 1);
    convolve(halo, weights, middle_rows, middle_operands);
    share_with_products(team);  // and nobody multiplies the halo any more
    job += stride;
    if (job < sizes.jobs) copy_halo(halo, x, sizes.x_pitch, job);
#pragma unroll 1
    for (int block = 0; block < kColumnBlocks; block += 2) {
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        expand(rows, weights + kFirstBytes, y, sizes.y_pitch, operands, pixels, block + odd, ahead[odd]);
        if (block + odd + 2 < kColumnBlocks) load_ahead(ahead[odd], near, sizes.near_pitch, pixels, block + odd + 2);
      }
    }
    wait_for_copies<0>();
    share_with_products(team);  // and nobody multiplies what was between
  }
}
