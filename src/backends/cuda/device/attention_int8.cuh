// Attention of bytes (ops/hussar_quantized_attention.cpp) with tensor cores, without the matrix of scores (Dao et al.,
// "FlashAttention-2", 2023). A warp holds GROUPS * 16 queries and their sums, the block walks the keys through three
// stages of shared memory.
//
// Behind attention_int8_pieces.cuh. Defined before, too: GROUPS, of 16 queries of a warp; SPLIT is 1. HEAD == V_HEAD is
// 32, 64 or, with one group, 128; rows of q, k and v begin at multiples of 16 bytes, those of y at multiples of four
// elements; zero points are 128. Grid: (ceil(queries / (16 * GROUPS * WARPS)), heads, batch); block: 32 * WARPS
// threads, at least 32 * STEPS; shared memory: (3 * 2 * 32 * STEPS + 16 * GROUPS * WARPS) * HEAD + 3 * 4 * 32 * STEPS
// bytes, dynamic.
#pragma once

constexpr int kStages = 3;
constexpr int kStageBytes = 2 * kTileBytes;

// Blocks of a multiprocessor hide each other's waiting: as many as registers last for.
constexpr bool kHasRowMasks = HAS_MASK && MASK_ROWS;
constexpr int kWarpsTogether = GROUPS > 1 ? (kHasRowMasks || CAUSAL ? 8 : 12) : HEAD > 64 || kHasRowMasks ? 12 : 20;
extern "C" __global__ void __launch_bounds__(kThreads, kWarpsTogether / WARPS)
    attention(const __grid_constant__ ByteAttention work, const __grid_constant__ ByteMeaning meaning) {
  static_assert(SPLIT == 1 && kKeys <= kThreads);
  begin_kernel();
  extern __shared__ __align__(128) unsigned char shared[];
  const unsigned stages = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  const unsigned queries_at = stages + kStages * kStageBytes;
  float* const biases = reinterpret_cast<float*>(shared + kStages * kStageBytes + kTall * WARPS * kRowBytes);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = blockIdx.y;
  const int first_query = static_cast<int>(blockIdx.x) * kTall * WARPS;
  const Sequence sequence = sequence_of(work.rows, blockIdx.z);
  if (PACKED && first_query >= sequence.queries) return;
  const int kv_head = head / static_cast<int>(work.rows.group);
  const unsigned char* k = work.rows.k + sequence.batch * work.rows.k_batch + kv_head * work.rows.k_head;
  const unsigned char* v = work.rows.v + sequence.batch * work.rows.v_batch + kv_head * work.rows.v_head;
  const MASK_TYPE* mask = work.rows.mask + sequence.batch * work.rows.mask_batch + head * work.rows.mask_head;
  const float scale = work.q_scales[head] * work.k_scales[kv_head] * (SCALE * kLog2E);
  int keys = sequence.keys;  // that the block looks at
  if (CAUSAL) keys = min(keys, first_query + kTall * WARPS + keys - sequence.queries);
  // One group of copies per stage, an empty one behind the last.
  auto copy_stage = [&](int stage, int first) {
    if (first < keys) {
      copy_rows<kKeys>(stages + stage * kStageBytes, k, work.rows.k_row, sequence.first + first,
                       sequence.first + sequence.keys);
      copy_rows<kKeys>(stages + stage * kStageBytes + kTileBytes, v, work.rows.v_row, sequence.first + first,
                       sequence.first + sequence.keys);
    }
    end_copies();
  };
  // A thread's key of a stage: what the mask adds to its scores.
  auto bias_of = [&](int first) {
    const int key = first + static_cast<int>(threadIdx.x);
    if (!HAS_MASK || MASK_ROWS || key >= sequence.keys) return kHidden;
    return fmaxf(fmaf(read<float>(mask[key * work.rows.mask_column]), kLog2E, -kCenter * scale), kHidden);
  };
  auto keep_bias = [&](int stage, float bias) {
    if (HAS_MASK && !MASK_ROWS && threadIdx.x < kKeys) biases[stage * kKeys + threadIdx.x] = bias;
  };
  copy_rows<kTall * WARPS>(queries_at, work.rows.q + sequence.batch * work.rows.q_batch + head * work.rows.q_head,
                           work.rows.q_row, sequence.first + first_query, sequence.first + sequence.queries);
  copy_stage(0, 0);
  copy_stage(1, kKeys);
  keep_bias(0, bias_of(0));
  keep_bias(1, bias_of(kKeys));
  wait_for_copies<1>();
  __syncthreads();
  Group groups[GROUPS];
#pragma unroll
  for (int g = 0; g < GROUPS; ++g) begin_group(groups[g], queries_at + (warp * kTall + 16 * g) * kRowBytes);

  const int query = first_query + warp * kTall + lane / 4;
  int stage = 0;
  for (int first = 0; first < keys; first += kKeys) {
    // The stage behind the next: all have left it.
    const int later = stage == 0 ? kStages - 1 : stage - 1;
    copy_stage(later, first + 2 * kKeys);
    const float bias = bias_of(first + 2 * kKeys);
#pragma unroll 1
    for (int here = 0; here < kKeys; here += kStep) {
      const unsigned tile = stages + stage * kStageBytes + here * kRowBytes;
      unsigned scores[GROUPS][kBlocks][4], weights[GROUPS][kBlocks / 2][4];
      score(scores, groups, tile);
#pragma unroll
      for (int g = 0; g < GROUPS; ++g) {
        Masked masked = {};
        if (HAS_MASK && MASK_ROWS) load_mask(masked, work.rows, mask, query + 16 * g, first + here);
        float logarithms[kBlocks][4];
        finish_scores(logarithms, scores[g], sequence, scale, biases + stage * kKeys + here, masked, query + 16 * g,
                      first + here);
        weigh(weights[g], logarithms, groups[g]);
      }
      add_values(weights, groups, tile + kTileBytes);
    }
    if (first + kKeys >= keys) break;
    keep_bias(later, bias);
    stage = stage == kStages - 1 ? 0 : stage + 1;
    wait_for_copies<1>();
    __syncthreads();
  }
#pragma unroll
  for (int g = 0; g < GROUPS; ++g) write_group(groups[g], work, meaning, blockIdx.z, head, query + 16 * g);
}
