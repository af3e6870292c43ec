// Attention with tensor cores, on halves, BF16 or floats as TF32, without the matrix of scores (Dao et al.,
// "FlashAttention-2", 2023): a warp holds 16 queries and their sums, the block walks the keys through two stages of
// shared memory. Where there is little work, SPLIT warps share the same queries, each with its part of every stage's
// keys; their sums are added in the end.
//
// Behind attention_tensor_pieces.cuh. Defined before, too: TF32, 1 for floats; BF16, 1 for BF16; WARPS, groups of 16
// queries of a block; SPLIT, warps of a group; STEPS, of 32 keys of each warp in a stage; MASK_PAIRS, 1 where two
// neighbours of the mask are one access; MASK_ROWS, 0 where all queries have the same. HEAD == V_HEAD is 32, 64 or
// 128; rows of q, k, v and y begin at multiples of 16 bytes; k_column is 1. Grid: (ceil(queries / (16 * WARPS)),
// heads, batch); block: 32 * WARPS * SPLIT threads, at most 128; shared memory: (4 * 32 * SPLIT * STEPS + 16 *
// WARPS) * HEAD * sizeof(DATA_TYPE) bytes, dynamic.
#pragma once

#if SPLIT > 1

// Adds what the warps of a group have found; the first one gets it.
__device__ __forceinline__ void join(Rows& rows, float* shared, int warp) {
  constexpr int kNumbers = kColumns * 4 + 4;
  const int lane = threadIdx.x % 32, part = warp % SPLIT;
  auto place_of = [&](int of_part, int number) -> float& {
    return shared[((warp / SPLIT * (SPLIT - 1) + of_part - 1) * kNumbers + number) * 32 + lane];
  };
  if (part > 0) {
#pragma unroll
    for (int i = 0; i < kColumns * 4; ++i) place_of(part, i) = rows.sums[i / 4][i % 4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      place_of(part, kColumns * 4 + i) = rows.largest[i];
      place_of(part, kColumns * 4 + 2 + i) = rows.total[i];
    }
  }
  __syncthreads();
  if (part > 0) return;
#pragma unroll
  for (int other = 1; other < SPLIT; ++other) {
#pragma unroll
    for (int half_row = 0; half_row < 2; ++half_row) {
      const float theirs = place_of(other, kColumns * 4 + half_row);
      const float next = fmaxf(rows.largest[half_row], theirs);
      const float base = next == kHidden ? 0.0f : next;
      const float shrink = power_of_two(rows.largest[half_row] - base), factor = power_of_two(theirs - base);
      rows.largest[half_row] = next;
      rows.total[half_row] = rows.total[half_row] * shrink + place_of(other, kColumns * 4 + 2 + half_row) * factor;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
#pragma unroll
        for (int i = 2 * half_row; i < 2 * half_row + 2; ++i)
          rows.sums[c][i] = rows.sums[c][i] * shrink + place_of(other, c * 4 + i) * factor;
      }
    }
  }
}

#endif

// Blocks of a multiprocessor hide each other's waiting: as many as registers last for.
constexpr int kBlocksOfHalves = HEAD > 64 ? 2 : SPLIT > 1 || MASK_ROWS ? 4 : 5;
constexpr int kBlocksOfFloats = HEAD > 64 ? 1 : MASK_ROWS ? 2 : 3;
constexpr int kBlocksTogether = TF32 ? kBlocksOfFloats : kBlocksOfHalves;
extern "C" __global__ void __launch_bounds__(kThreads, kBlocksTogether)
    attention(const __grid_constant__ Attention work, const __grid_constant__ ByteMeaning meaning) {
  begin_kernel();
  extern __shared__ __align__(128) unsigned char shared[];
  const unsigned stages = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  const unsigned queries_at = stages + 4 * kTileBytes;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int head = blockIdx.y;
  const long long first_query = blockIdx.x * (16LL * WARPS);
  const int first_key = warp % SPLIT * kStep;  // of the warp, in a stage
  const Sequence sequence = sequence_of(work, blockIdx.z);
  const int queries = sequence.queries;
  if (PACKED && first_query >= queries) return;
  const DATA_TYPE* k = work.k + sequence.batch * work.k_batch + head / work.group * work.k_head;
  const DATA_TYPE* v = work.v + sequence.batch * work.v_batch + head / work.group * work.v_head;
  const MASK_TYPE* mask = work.mask + sequence.batch * work.mask_batch + head * work.mask_head;
  int keys = sequence.keys;  // that the block looks at
  if (CAUSAL) keys = min(keys, static_cast<int>(first_query) + 16 * WARPS + keys - queries);
  // One group of copies per stage, an empty one behind the last.
  auto copy_stage = [&](int stage, int first) {
    if (first < keys) {
      copy_rows<kKeys>(stages + stage * 2 * kTileBytes, k, work.k_row, sequence.first + first,
                       sequence.first + sequence.keys);
      copy_rows<kKeys>(stages + stage * 2 * kTileBytes + kTileBytes, v, work.v_row, sequence.first + first,
                       sequence.first + sequence.keys);
    }
    end_copies();
  };
  copy_rows<16 * WARPS>(queries_at, work.q + sequence.batch * work.q_batch + head * work.q_head, work.q_row,
                        sequence.first + first_query, sequence.first + queries);
  copy_stage(0, 0);
  copy_stage(1, kKeys);
  const int query = static_cast<int>(first_query) + 16 * (warp / SPLIT) + lane / 4;
  Masked masked = {};
  if (HAS_MASK) load_mask(masked, work, mask, query, first_key);
  wait_for_copies<1>();
  __syncthreads();
  unsigned q[kSlices][4];
#pragma unroll
  for (int c = 0; c < kSlices; ++c)
    load_matrices(q[c], queries_at + place(16 * (warp / SPLIT) + (lane & 15), 2 * c + (lane >> 4)));

  Rows rows = {};
  rows.largest[0] = rows.largest[1] = kHidden;
  int stage = 0;
  for (int first = 0; first < keys; first += kKeys, stage ^= 1) {
#pragma unroll 1
    for (int step = 0; step < STEPS; ++step) {
      const int here = step * SPLIT * kStep + first_key, next = first + here + SPLIT * kStep;
      const unsigned tile = stages + stage * 2 * kTileBytes + here * kRowBytes;
      float scores[kBlocks][4] = {};
      score(scores, q, tile);
      finish_scores(scores, sequence, masked, query, first + here);
      if (HAS_MASK) load_mask(masked, work, mask, query, next);
      weigh(scores, rows);
      add_values(scores, rows, tile + kTileBytes);
    }
    if (first + kKeys >= keys) break;
    __syncthreads();
    copy_stage(stage, first + 2 * kKeys);
    wait_for_copies<1>();
    __syncthreads();
  }
#if SPLIT > 1
  wait_for_copies<0>();
  __syncthreads();
  join(rows, reinterpret_cast<float*>(shared), warp);
  if (warp % SPLIT > 0) return;
#endif

  write_rows(rows, work, meaning, blockIdx.z, head, query);
}
