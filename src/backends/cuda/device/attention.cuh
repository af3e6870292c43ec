// What the attention kernels share: softmax(scale * q k^T + mask) v for every head (src/ops/hussar_attention.cpp).
//
// Defined before: DATA_TYPE, OUTPUT_TYPE, MASK_TYPE, HAS_MASK, HEAD (columns of q and k), V_HEAD, SCALE, SOFTCAP (0:
// none), CAUSAL.
#pragma once

// All of 8 bytes. Strides in elements; a head's columns of q, v and y are contiguous.
struct Attention {
  const DATA_TYPE* q;
  const DATA_TYPE* k;
  const DATA_TYPE* v;
  const MASK_TYPE* mask;
  OUTPUT_TYPE* y;
  long long q_batch, q_head, q_row;
  long long k_batch, k_head, k_row, k_column;
  long long v_batch, v_head, v_row;
  long long y_batch, y_head, y_row;
  long long mask_batch, mask_head, mask_row, mask_column;
  long long queries, keys, heads, group;  // group: query heads that share a head of k and v
};

#define kHidden __uint_as_float(0xff800000U)  // minus infinity

// A score with everything that is done to it before the softmax.
__device__ __forceinline__ float finish_score(const Attention& work, float dot, float masked, int query, int key) {
  const int keys = static_cast<int>(work.keys), queries = static_cast<int>(work.queries);
  if (key >= keys || (CAUSAL && key > query + keys - queries)) return kHidden;
  float score = dot * SCALE;
  if (SOFTCAP > 0.0f) score = SOFTCAP * tanhf(score / SOFTCAP);
  return score + masked;
}
