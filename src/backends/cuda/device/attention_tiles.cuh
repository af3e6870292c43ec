// Attention with multiply-adds: a block keeps 64 queries of a head and walks over KEYS keys at a time, with a running
// maximum (as attention_simple.cuh). A thread has 4 queries and every 16th part of keys and of the columns of v.
//
// Defined before, beside what attention.cuh needs: KEYS, 32 or 64. Grid: (ceil(queries / 64), heads, batch); block: 256
// threads; shared: the four tiles, dynamic.
#pragma once

constexpr int kQueries = 64;
constexpr int kPitch = kQueries + 4;          // of tiles whose rows are queries
constexpr int kKeyPitch = KEYS + 4;           // of tiles whose rows are keys
constexpr int kColumns = (V_HEAD + 15) / 16;  // of v, of a thread
constexpr int kKeys = KEYS / 16;              // of a thread
constexpr int kValuePitch = 16 * kColumns;

// Rows first, first + 1, ... of `count` as columns of a tile; zeros behind the last.
template <int kRows, int kRowPitch>
__device__ __forceinline__ void load_turned(float* tile, const DATA_TYPE* from, long long row_stride,
                                            long long column_stride, long long first, long long count) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows * HEAD; i += 256) {
    const int row = i / HEAD, column = i % HEAD;
    const bool inside = first + row < count;
    tile[column * kRowPitch + row] =
        inside ? read<float>(from[(first + row) * row_stride + column * column_stride]) : 0.0f;
  }
}

// Of the 16 threads with the same queries.
__device__ __forceinline__ float sixteenth_max(float x) {
#pragma unroll
  for (int lanes = 8; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, lanes));
  return x;
}
__device__ __forceinline__ float sixteenth_sum(float x) {
#pragma unroll
  for (int lanes = 8; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffU, x, lanes);
  return x;
}

extern __shared__ float shared[];

extern "C" __global__ void __launch_bounds__(256, 2)
    attention(const __grid_constant__ Attention work, const __grid_constant__ ByteMeaning meaning) {
  begin_kernel();
  float* const q_tile = shared;                        // [HEAD][kPitch]
  float* const k_tile = q_tile + HEAD * kPitch;        // [HEAD][kKeyPitch]
  float* const v_tile = k_tile + HEAD * kKeyPitch;     // [KEYS][kValuePitch]
  float* const weights = v_tile + KEYS * kValuePitch;  // [KEYS][kPitch]
  const int head = blockIdx.y;
  const int part = threadIdx.x % 16, mine = threadIdx.x / 16 * 4;
  const long long first_query = static_cast<long long>(blockIdx.x) * kQueries;
  const Sequence rows = sequence_of(work, blockIdx.z);
  if (first_query >= rows.queries) return;
  const DATA_TYPE* k = work.k + rows.batch * work.k_batch + head / work.group * work.k_head;
  const DATA_TYPE* v = work.v + rows.batch * work.v_batch + head / work.group * work.v_head;
  const MASK_TYPE* mask = work.mask + rows.batch * work.mask_batch + head * work.mask_head;
  load_turned<kQueries, kPitch>(q_tile, work.q + rows.batch * work.q_batch + head * work.q_head, work.q_row, 1,
                                rows.first + first_query, rows.first + rows.queries);
  long long keys = rows.keys;  // that the block looks at
  if (CAUSAL && first_query + kQueries + keys - rows.queries < keys)
    keys = first_query + kQueries + keys - rows.queries;
  float sums[4][kColumns] = {}, largest[4], total[4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) largest[i] = kHidden;
  for (long long first = 0; first < keys; first += KEYS) {
    __syncthreads();
    load_turned<KEYS, kKeyPitch>(k_tile, k, work.k_row, work.k_column, rows.first + first, rows.first + rows.keys);
    for (int i = static_cast<int>(threadIdx.x); i < KEYS * kValuePitch; i += 256) {
      const int row = i / kValuePitch, column = i % kValuePitch;
      const bool inside = first + row < rows.keys && column < V_HEAD;
      v_tile[i] = inside ? read<float>(v[(rows.first + first + row) * work.v_row + column]) : 0.0f;
    }
    __syncthreads();
    float scores[4][kKeys] = {};
#pragma unroll 2
    for (int d = 0; d < HEAD; ++d) {
      float a[4], b[kKeys];
      load(q_tile + d * kPitch + mine, a);
      load(k_tile + d * kKeyPitch + part * kKeys, b);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < kKeys; ++j) scores[i][j] = fmaf(a[i], b[j], scores[i][j]);
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int query = static_cast<int>(first_query) + mine + i;
      const MASK_TYPE* const line = mask + query * work.mask_row;
      float most = largest[i];
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        const int key = static_cast<int>(first) + part * kKeys + j;
        float masked = 0.0f;
        if (HAS_MASK && key < rows.keys && query < rows.queries) masked = read<float>(line[key * work.mask_column]);
        scores[i][j] = finish_score(rows, scores[i][j], masked, query, key);
        most = fmaxf(most, scores[i][j]);
      }
      most = sixteenth_max(most);
      // Nothing is visible so far.
      const float shrink = most == kHidden ? 1.0f : expf(largest[i] - most);
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        const float weight = most == kHidden ? 0.0f : expf(scores[i][j] - most);
        weights[(part * kKeys + j) * kPitch + mine + i] = weight;
        sum += weight;
      }
      total[i] = total[i] * shrink + sixteenth_sum(sum);
      largest[i] = most;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) sums[i][c] *= shrink;
    }
    __syncthreads();
#pragma unroll 2
    for (int key = 0; key < KEYS; ++key) {
      float weight[4];
      load(weights + key * kPitch + mine, weight);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const float value = v_tile[key * kValuePitch + c * 16 + part];
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[i][c] = fmaf(weight[i], value, sums[i][c]);
      }
    }
  }
  // Read again: registers are for the sums.
  const Sequence written = sequence_of(work, blockIdx.z);
  OUTPUT_TYPE* y = work.y + written.batch * work.y_batch + head * work.y_head;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const long long query = first_query + mine + i;
    if (query >= written.queries) continue;
    const float factor = total[i] > 0.0f ? 1.0f / total[i] : 0.0f;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = c * 16 + part;
      if (column < V_HEAD)
        y[(written.first + query) * work.y_row + column] = write_result<OUTPUT_TYPE>(sums[i][c] * factor, meaning);
    }
  }
}
