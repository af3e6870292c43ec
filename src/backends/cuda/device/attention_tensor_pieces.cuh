// The pieces of attention with tensor cores, on halves, BF16 or floats as TF32: what a warp does with its 16 queries
// and some of the keys.
//
// Behind attention_pieces.cuh. Defined before, too: TF32, 1 for floats; BF16, 1 for BF16.
#pragma once

__device__ __forceinline__ unsigned round_to_tf32(float x) {
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return rounded;
}

__device__ __forceinline__ void load_matrices(unsigned (&to)[4], unsigned from) {
  load_fragments(to, from);
#if TF32
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = round_to_tf32(__uint_as_float(to[i]));
#endif
}

__device__ __forceinline__ void multiply(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if TF32 || BF16
#ifdef HUSSAR_EMULATED
  hussar_multiply<DATA_TYPE>(sum, a, b0, b1);
#else
#if TF32
#define ATTENTION_MMA "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"
#else
#define ATTENTION_MMA "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
#endif
  asm volatile(ATTENTION_MMA " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
#else
  multiply_halves(sum, a, b0, b1);
#endif
}

__device__ __forceinline__ unsigned pack(float low, float high) {
#if BF16
  return bfloat_pair(low, high);
#else
  return half_pair(low, high);
#endif
}

// The warp's 16 queries, of which a lane holds two rows of numbers: lane / 4 and that + 8.
struct Rows {
  float sums[kColumns][4];     // columns 8 c + lane % 4 * 2 and the next, of both rows
  float largest[2], total[2];  // the largest: of logarithms to base 2
};

// Scores of the warp's keys: of block n the lane has keys 8 n + lane % 4 * 2 and the next.
__device__ __forceinline__ void score(float (&scores)[kBlocks][4], const unsigned (&q)[kSlices][4], unsigned keys) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kBlocks; n += 2) {
#pragma unroll
    for (int c = 0; c < kSlices; ++c) {
      unsigned b[4];
      load_matrices(b, keys + place(8 * n + (lane & 7) + ((lane >> 4) << 3), 2 * c + ((lane >> 3) & 1)));
      multiply(scores[n], q[c], b[0], b[1]);
      multiply(scores[n + 1], q[c], b[2], b[3]);
    }
  }
}

// Products of queries and keys become logarithms to base 2, with all that is done to them before the softmax.
__device__ __forceinline__ void finish_scores(float (&scores)[kBlocks][4], const Sequence& sequence,
                                              const Masked& masked, int query, int first) {
  constexpr float kLog2E = 1.44269504f;
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& score = scores[n][i];
      const float added = HAS_MASK ? masked.pairs[n][i / 2 * MASK_ROWS].number(i % 2) * kLog2E : 0.0f;
      if (SOFTCAP > 0.0f) {
        score = SOFTCAP * tanhf(score * (SCALE / (SOFTCAP > 0.0f ? SOFTCAP : 1.0f))) * kLog2E + added;
      } else {
        score = fmaf(score, SCALE * kLog2E, added);
      }
    }
  }
  const int keys = sequence.keys, queries = sequence.queries;
  if (!CAUSAL && first + kStep <= keys) return;
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first + 8 * n + static_cast<int>(threadIdx.x) % 4 * 2 + i % 2;
      if (key >= keys || (CAUSAL && key > query + 8 * (i / 2) + keys - queries)) scores[n][i] = kHidden;
    }
  }
}

// Scores become weights, and the rows what they are with these as the largest.
__device__ __forceinline__ void weigh(float (&scores)[kBlocks][4], Rows& rows) {
#pragma unroll
  for (int half_row = 0; half_row < 2; ++half_row) {
    float next = rows.largest[half_row];
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) next = fmaxf(next, fmaxf(scores[n][2 * half_row], scores[n][2 * half_row + 1]));
    next = fmaxf(next, __shfl_xor_sync(0xffffffffU, next, 1));
    next = fmaxf(next, __shfl_xor_sync(0xffffffffU, next, 2));
    const float base = next == kHidden ? 0.0f : next;
    const float shrink = power_of_two(rows.largest[half_row] - base);
    rows.largest[half_row] = next;
    float total = 0.0f;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
      for (int i = 2 * half_row; i < 2 * half_row + 2; ++i) {
        scores[n][i] = power_of_two(scores[n][i] - base);
        total += scores[n][i];
      }
    }
    rows.total[half_row] = rows.total[half_row] * shrink + total;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      rows.sums[c][2 * half_row] *= shrink;
      rows.sums[c][2 * half_row + 1] *= shrink;
    }
  }
}

#if TF32

// A lane's two neighbouring keys of a block count as the instruction's keys lane % 4 and that + 4: what it holds of the
// weights is then what it needs of them.
__device__ __forceinline__ void add_values(const float (&weights)[kBlocks][4], Rows& rows, unsigned values) {
  const int lane = threadIdx.x % 32, column = lane / 4;
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    const unsigned a[4] = {round_to_tf32(weights[n][0]), round_to_tf32(weights[n][2]), round_to_tf32(weights[n][1]),
                           round_to_tf32(weights[n][3])};
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      unsigned b[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float value;
        asm volatile("ld.shared.f32 %0, [%1];"
                     : "=f"(value)
                     : "r"(values + place(8 * n + lane % 4 * 2 + i, 2 * c + column / 4) + column % 4 * 4)
                     : "memory");
        b[i] = round_to_tf32(value);
      }
      multiply(rows.sums[c], a, b[0], b[1]);
    }
  }
}

#else

__device__ __forceinline__ void add_values(const float (&weights)[kBlocks][4], Rows& rows, unsigned values) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < kBlocks / 2; ++k) {
    const unsigned a[4] = {pack(weights[2 * k][0], weights[2 * k][1]), pack(weights[2 * k][2], weights[2 * k][3]),
                           pack(weights[2 * k + 1][0], weights[2 * k + 1][1]),
                           pack(weights[2 * k + 1][2], weights[2 * k + 1][3])};
#pragma unroll
    for (int c = 0; c < kColumns; c += 2) {
      unsigned b[4];
      load_turned(b, values + place(16 * k + (lane & 15), c + (lane >> 4)));
      multiply(rows.sums[c], a, b[0], b[1]);
      multiply(rows.sums[c + 1], a, b[2], b[3]);
    }
  }
}

#endif

// What the rows are, from row `query` of a lane on.
__device__ __forceinline__ void write_rows(const Rows& rows, const Attention& work, const ByteMeaning& meaning,
                                           int batch, int head, int query) {
  // Read again: registers are for the sums.
  const Sequence written = sequence_of(work, batch);
  const int lane = threadIdx.x % 32;
  OUTPUT_TYPE* y = work.y + written.batch * work.y_batch + head * work.y_head;
#pragma unroll
  for (int half_row = 0; half_row < 2; ++half_row) {
    float total = rows.total[half_row];
    total += __shfl_xor_sync(0xffffffffU, total, 1);
    total += __shfl_xor_sync(0xffffffffU, total, 2);
    const float factor = total > 0.0f ? 1.0f / total : 0.0f;
    const long long row = query + 8 * half_row;
    if (row >= written.queries) continue;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const float first = rows.sums[c][2 * half_row] * factor, second = rows.sums[c][2 * half_row + 1] * factor;
      OUTPUT_TYPE* const to = y + (written.first + row) * work.y_row + 8 * c + lane % 4 * 2;
#if TF32 || WRITES_BYTES
      const float pair[2] = {first, second};
      store_results<2>(to, pair, meaning);
#else
      *reinterpret_cast<unsigned*>(to) = pack(first, second);
#endif
    }
  }
}
