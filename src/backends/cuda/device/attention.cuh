// What the attention kernels share: softmax(scale * q k^T + mask) v for every head (src/ops/hussar_attention.cpp).
//
// Defined before: DATA_TYPE, OUTPUT_TYPE, MASK_TYPE, HAS_MASK, HEAD (columns of q and k), V_HEAD, SCALE, SOFTCAP (0:
// none), CAUSAL; PACKED, 1: sequences of any length follow each other.
#pragma once

// Parameters of a kernel: this, and what bytes of y stand for. All of 8 bytes. Strides in elements; a head's columns of q, v and y are contiguous.
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
  // With PACKED: the first row of each sequence, and the end of the last one; the batches' rows are one behind another.
  const int* starts;
  long long batches;
};

// The rows that attend to each other: those of a batch from `first` on. With PACKED there is one batch. Pointers are to
// row 0: what is not a sum of parameters would have to stay in registers.
struct Sequence {
  int batch, first, queries, keys;
};

__device__ __forceinline__ Sequence sequence_of(const Attention& work, int number) {
#if PACKED
  // Whatever is in `starts`, nothing outside of all rows is reached.
  const int rows = static_cast<int>(work.batches * work.queries);
  const int first = min(max(work.starts[number], 0), rows), last = min(max(work.starts[number + 1], 0), rows);
  const int length = min(max(last - first, 0), static_cast<int>(work.queries));
  return {0, first, length, length};
#else
  return {number, 0, static_cast<int>(work.queries), static_cast<int>(work.keys)};
#endif
}

#define kHidden __uint_as_float(0xff800000U)  // minus infinity

// A score with everything that is done to it before the softmax.
__device__ __forceinline__ float finish_score(const Sequence& rows, float dot, float masked, int query, int key) {
  if (key >= rows.keys || (CAUSAL && key > query + rows.keys - rows.queries)) return kHidden;
  float score = dot * SCALE;
  if (SOFTCAP > 0.0f) score = SOFTCAP * tanhf(score / SOFTCAP);
  return score + masked;
}
