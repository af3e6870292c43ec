// Attention for any type, head and strides: one warp for each query, with a running maximum (Milakov and Gimelshein,
// "Online normalizer calculation for softmax", 2018). Grid: (ceil(queries / 4), heads, batch); block: 128 threads.
#pragma once

extern "C" __global__ void __launch_bounds__(128)
    attention(const __grid_constant__ Attention work, const __grid_constant__ ByteMeaning meaning) {
  begin_kernel();
  const int lane = threadIdx.x % 32;
  const long long query = blockIdx.x * 4LL + threadIdx.x / 32;
  const int head = blockIdx.y;
  const Sequence rows = sequence_of(work, blockIdx.z);
  if (query >= rows.queries) return;
  const DATA_TYPE* q = work.q + rows.batch * work.q_batch + head * work.q_head + (rows.first + query) * work.q_row;
  const DATA_TYPE* k = work.k + rows.batch * work.k_batch + head / work.group * work.k_head + rows.first * work.k_row;
  const DATA_TYPE* v = work.v + rows.batch * work.v_batch + head / work.group * work.v_head + rows.first * work.v_row;
  const MASK_TYPE* mask = work.mask + rows.batch * work.mask_batch + head * work.mask_head;
  constexpr int kColumns = (V_HEAD + 31) / 32;
  float sums[kColumns] = {};
  float largest = kHidden, total = 0.0f;
  for (long long first = 0; first < rows.keys; first += 32) {
    const long long key = first + lane;
    float dot = 0.0f;
    for (int i = 0; key < rows.keys && i < HEAD; ++i) {
      dot = fmaf(read<float>(q[i]), read<float>(k[key * work.k_row + i * work.k_column]), dot);
    }
    float masked = 0.0f;
    if (HAS_MASK && key < rows.keys) masked = read<float>(mask[query * work.mask_row + key * work.mask_column]);
    const float score = finish_score(rows, dot, masked, static_cast<int>(query), static_cast<int>(key));
    float block_largest = score;
    for (int step = 16; step > 0; step /= 2) {
      block_largest = fmaxf(block_largest, __shfl_xor_sync(0xffffffffU, block_largest, step));
    }
    const float next = fmaxf(largest, block_largest);
    if (next == kHidden) continue;
    const float shrink = expf(largest - next);
    const float weight = expf(score - next);
    largest = next;
    total = total * shrink + weight;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) sums[c] *= shrink;
    for (int j = 0; j < 32 && first + j < rows.keys; ++j) {
      const float share = __shfl_sync(0xffffffffU, weight, j);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const int column = c * 32 + lane;
        if (column < V_HEAD) sums[c] = fmaf(share, read<float>(v[(first + j) * work.v_row + column]), sums[c]);
      }
    }
  }
  for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(0xffffffffU, total, step);
  OUTPUT_TYPE* y = work.y + rows.batch * work.y_batch + head * work.y_head + (rows.first + query) * work.y_row;
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const int column = c * 32 + lane;
    if (column < V_HEAD) y[column] = write_result<OUTPUT_TYPE>(total > 0.0f ? sums[c] / total : 0.0f, meaning);
  }
}
