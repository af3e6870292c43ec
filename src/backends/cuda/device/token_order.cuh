// Where the tokens of a batch of sequences go when padding is left out (src/ops/hussar_token_order.cpp): count_tokens
// counts those of each sequence, place_tokens numbers them. A block has a sequence; there is one where there are none.
//
// Defined before: MASK_TYPE; INVERTED, 1: tokens are where the mask is 0.
#pragma once

struct TokenOrder {
  const MASK_TYPE* mask;
  int* counts;  // of each sequence
  int* index;
  int* place;   // null: nobody reads it
  int* starts;  // the same
  long long batch, length;
};

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

__device__ __forceinline__ bool is_token(const TokenOrder& work, long long position) {
  return (read<float>(work.mask[position]) != 0.0f) != (INVERTED != 0);
}

// The sum over the block. May be called again once all threads have it.
__device__ __forceinline__ int block_sum(int x) {
  __shared__ int sums[kWarps];
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffU, x, step);
  __syncthreads();
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
  __syncthreads();
  int total = 0;
  for (int warp = 0; warp < kWarps; ++warp) total += sums[warp];
  return total;
}

extern "C" __global__ void __launch_bounds__(256) count_tokens(const __grid_constant__ TokenOrder work) {
  begin_kernel();
  const long long sequence = blockIdx.x;
  int mine = 0;
  for (long long i = threadIdx.x; sequence < work.batch && i < work.length; i += kThreads)
    mine += is_token(work, sequence * work.length + i) ? 1 : 0;
  const int count = block_sum(mine);
  if (sequence < work.batch && threadIdx.x == 0) work.counts[sequence] = count;
}

// No kernel begins before this one has ended, so that those behind it may read the number of rows when they begin,
// before the ones in front of them have ended.
extern "C" __global__ void __launch_bounds__(256) place_tokens(const __grid_constant__ TokenOrder work) {
  begin_kernel_alone();
  const long long sequence = blockIdx.x;
  int before = 0, all = 0;
  for (long long i = threadIdx.x; i < work.batch; i += kThreads) {
    const int count = work.counts[i];
    before += i < sequence ? count : 0;
    all += count;
  }
  int row = block_sum(before);
  const int total = block_sum(all);
  if (threadIdx.x == 0 && work.starts != nullptr) {
    if (sequence < work.batch) work.starts[sequence] = row;
    if (sequence == 0) work.starts[work.batch] = total;
    __threadfence();
  }
  if (sequence >= work.batch) return;
  const long long begin = sequence * work.length;
  for (long long first = 0; first < work.length; first += kThreads) {
    const long long i = first + threadIdx.x, position = begin + i;
    const bool is_inside = i < work.length, is_mine = is_inside && is_token(work, position);
    const unsigned votes = __ballot_sync(0xffffffffU, is_mine ? 1 : 0);
    __shared__ int counts[kWarps];
    __syncthreads();
    if (threadIdx.x % 32 == 0) counts[threadIdx.x / 32] = __popc(votes);
    __syncthreads();
    int own = row + __popc(votes & ((1U << threadIdx.x % 32) - 1U));
    for (int warp = 0; warp < kWarps; ++warp) {
      if (warp < static_cast<int>(threadIdx.x / 32)) own += counts[warp];
      row += counts[warp];
    }
    if (is_mine) work.index[own] = static_cast<int>(position);
    if (is_inside && work.place != nullptr) work.place[position] = is_mine ? own : -1;
    // The rows behind the last token, each by one of the blocks.
    if (is_inside && position >= total) work.index[position] = -1;
  }
}
