// The pieces of attention of bytes (ops/hussar_quantized_attention.cpp) with tensor cores: what a warp does with its
// queries and some of the keys. Scores are exact integers, the softmax is FP32, weights and values are multiplied as
// halves.
//
// Nothing is spent on conversions of scores and little on those of values:
// - Sums of bytes begin at the bits of 1.5 * 2^23 less what the zero point of the keys adds: as a float they are
//   1.5 * 2^23 + the sum, exactly.
// - A byte of v behind 0x64 is the half 1024 + byte. Zero point and 1024 go in the end, as the total of the weights
//   times 1152; the total is a column of ones of the same product.
// - ldmatrix turns pairs of bytes. So the blocks of eight columns that are multiplied are every second of 16, and a
//   lane has four neighbours of a row.
// - Sums are scaled only when a row's largest score has grown by a factor of more than 2^kSlack.
//
// Behind attention_pieces.cuh. Defined before, too: GROUPS, of 16 queries of a warp; zero points are 128.
#pragma once

constexpr int kTall = 16 * GROUPS;  // queries of a warp
constexpr unsigned kCenterBits = 0x4b400000U;
constexpr float kCenter = 12582912.0f;  // 1.5 * 2^23: the last bits of floats around it are an integer
constexpr float kValueOffset = 1024.0f + 128.0f;
constexpr float kLowest = -3.0e38f;  // nothing has been seen yet
constexpr float kSlack = 8.0f;       // weights up to 2^8 are halves as exact as others
constexpr float kLog2E = 1.44269504f;

// All of 8 bytes. Scales are per head, those of v per column.
struct ByteAttention {
  Attention rows;
  const float* q_scales;
  const float* k_scales;
  const float* v_scales;
};

// Signed by unsigned bytes.
__device__ __forceinline__ void multiply_bytes(unsigned (&sum)[4], const unsigned (&from)[4], const unsigned (&a)[4],
                                               unsigned b0, unsigned b1) {
#ifdef HUSSAR_EMULATED
  int sums[4] = {static_cast<int>(from[0]), static_cast<int>(from[1]), static_cast<int>(from[2]),
                 static_cast<int>(from[3])};
  hussar_multiply_bytes<signed char, unsigned char>(sums, a, b0, b1);
  for (int i = 0; i < 4; ++i) sum[i] = static_cast<unsigned>(sums[i]);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, "
      "%13};"
      : "=r"(sum[0]), "=r"(sum[1]), "=r"(sum[2]), "=r"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(from[0]), "r"(from[1]), "r"(from[2]),
        "r"(from[3]));
#endif
}

// 16 queries.
struct Group {
  unsigned q[kSlices][4];   // less their zero point
  unsigned begin[4];        // of sums of bytes
  float sums[kColumns][4];  // block 2 c + i: of the columns 16 c + i, 16 c + i + 2, ...
  float totals[4];          // of the weights: of a lane's two rows, twice each
  float base[2];            // of logarithms to base 2, which weights are relative to
};

__device__ __forceinline__ void begin_group(Group& group, unsigned rows) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int i = 0; i < 4; ++i) group.sums[c][i] = 0.0f;
  }
  unsigned zero_points[4] = {};
#pragma unroll
  for (int c = 0; c < kSlices; ++c) {
    load_fragments(group.q[c], rows + place(lane & 15, 2 * c + (lane >> 4)));
#pragma unroll
    for (int i = 0; i < 4; ++i) group.q[c][i] ^= 0x80808080U;
    multiply_bytes(zero_points, zero_points, group.q[c], 0x80808080U, 0x80808080U);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    group.begin[i] = kCenterBits - zero_points[i];
    group.totals[i] = 0.0f;
  }
  group.base[0] = group.base[1] = kLowest;
}

// Sums of bytes, as floats around kCenter.
__device__ __forceinline__ void score(unsigned (&scores)[GROUPS][kBlocks][4], const Group (&groups)[GROUPS],
                                      unsigned keys) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kBlocks; n += 2) {
#pragma unroll
    for (int c = 0; c < kSlices; ++c) {
      unsigned b[4];
      load_fragments(b, keys + place(8 * n + (lane & 7) + ((lane >> 4) << 3), 2 * c + ((lane >> 3) & 1)));
#pragma unroll
      for (int g = 0; g < GROUPS; ++g) {
        const Group& group = groups[g];
        if (c == 0) {
          multiply_bytes(scores[g][n], group.begin, group.q[c], b[0], b[1]);
          multiply_bytes(scores[g][n + 1], group.begin, group.q[c], b[2], b[3]);
        } else {
          multiply_bytes(scores[g][n], scores[g][n], group.q[c], b[0], b[1]);
          multiply_bytes(scores[g][n + 1], scores[g][n + 1], group.q[c], b[2], b[3]);
        }
      }
    }
  }
}

// Sums become logarithms to base 2. `scale` takes one to the other, `biases` are what the mask adds, less the scaled
// kCenter, where all queries have the same.
__device__ __forceinline__ void finish_scores(float (&logarithms)[kBlocks][4], const unsigned (&scores)[kBlocks][4],
                                              const Sequence& sequence, float scale, const float* biases,
                                              const Masked& masked, int query, int first) {
  const int lane = threadIdx.x % 32;
  const float center = -kCenter * scale;
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    float bias[4] = {center, center, center, center};
#if HAS_MASK && MASK_ROWS
    // A key whose mask is NaN is hidden.
#pragma unroll
    for (int i = 0; i < 4; ++i) bias[i] = fmaxf(fmaf(masked.pairs[n][i / 2].number(i % 2), kLog2E, center), kHidden);
#elif HAS_MASK
    const Pack<2, float> pair = *reinterpret_cast<const Pack<2, float>*>(biases + 8 * n + lane % 4 * 2);
    bias[0] = bias[2] = pair.values[0];
    bias[1] = bias[3] = pair.values[1];
#endif
#pragma unroll
    for (int i = 0; i < 4; ++i) logarithms[n][i] = fmaf(__uint_as_float(scores[n][i]), scale, bias[i]);
  }
  const int keys = sequence.keys, queries = sequence.queries;
  if (!CAUSAL && ((HAS_MASK && !MASK_ROWS) || first + kStep <= keys)) return;
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first + 8 * n + lane % 4 * 2 + i % 2;
      if (key >= keys || (CAUSAL && key > query + 8 * (i / 2) + keys - queries)) logarithms[n][i] = kHidden;
    }
  }
}

// Logarithms become weights: halves as the left operand of the product with values.
__device__ __forceinline__ void weigh(unsigned (&weights)[kBlocks / 2][4], float (&logarithms)[kBlocks][4],
                                      Group& group) {
  float largest[2];  // of the lane
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    largest[row] = fmaxf(logarithms[0][2 * row], logarithms[0][2 * row + 1]);
#pragma unroll
    for (int n = 1; n < kBlocks; ++n)
      largest[row] = fmaxf(largest[row], fmaxf(logarithms[n][2 * row], logarithms[n][2 * row + 1]));
  }
  // Lanes ask each other only where there is something to do.
  const bool grows = largest[0] > group.base[0] + kSlack || largest[1] > group.base[1] + kSlack;
  if (__any_sync(0xffffffffU, grows)) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      float next = fmaxf(largest[row], __shfl_xor_sync(0xffffffffU, largest[row], 1));
      next = fmaxf(next, __shfl_xor_sync(0xffffffffU, next, 2));
      // A row's weights depend on no other row.
      if (!(next > group.base[row] + kSlack)) next = group.base[row];
      const float shrink = power_of_two(group.base[row] - next);
      group.base[row] = next;
      group.totals[2 * row] *= shrink;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        group.sums[c][2 * row] *= shrink;
        group.sums[c][2 * row + 1] *= shrink;
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) logarithms[n][i] = power_of_two(logarithms[n][i] - group.base[i / 2]);
#pragma unroll
    for (int row = 0; row < 2; ++row)
      weights[n / 2][n % 2 * 2 + row] = half_pair(logarithms[n][2 * row], logarithms[n][2 * row + 1]);
  }
}

__device__ __forceinline__ void add_values(const unsigned (&weights)[GROUPS][kBlocks / 2][4], Group (&groups)[GROUPS],
                                           unsigned values) {
  constexpr unsigned kOnes = 0x3c003c00U, kExponents = 0x64646464U;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < kBlocks / 2; ++k) {
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) multiply_halves(groups[g].totals, weights[g][k], kOnes, kOnes);
#pragma unroll
    for (int c = 0; c < kChunks; c += 2) {
      unsigned pairs[4];
      load_turned(pairs, values + place(16 * k + (lane & 15), c + (lane >> 4)));
#pragma unroll
      for (int block = 0; block < 4; ++block) {
        const unsigned selector = block % 2 == 0 ? 0x4240U : 0x4341U;
        const unsigned b0 = __byte_perm(pairs[block / 2 * 2], kExponents, selector);
        const unsigned b1 = __byte_perm(pairs[block / 2 * 2 + 1], kExponents, selector);
#pragma unroll
        for (int g = 0; g < GROUPS; ++g) multiply_halves(groups[g].sums[2 * c + block], weights[g][k], b0, b1);
      }
    }
  }
}

// What the group has found, from row `query` of a lane on.
__device__ __forceinline__ void write_group(const Group& group, const ByteAttention& work, const ByteMeaning& meaning,
                                            int batch, int head, int query) {
  const int lane = threadIdx.x % 32;
  // Read again: registers are for the sums.
  const Sequence sequence = sequence_of(work.rows, batch);
  OUTPUT_TYPE* const y = work.rows.y + sequence.batch * work.rows.y_batch + head * work.rows.y_head + lane % 4 * 4;
  const float* const scales = work.v_scales + head / work.rows.group * V_HEAD + lane % 4 * 4;
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const float total = group.totals[2 * row];
    const float factor = total > 0.0f ? 1.0f / total : 0.0f, offset = total > 0.0f ? kValueOffset : 0.0f;
    const int at = query + 8 * row;
    if (at >= sequence.queries) continue;
    OUTPUT_TYPE* const to = y + (static_cast<long long>(sequence.first) + at) * work.rows.y_row;
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      float numbers[4];
      load<4>(scales + 16 * c, numbers);
#pragma unroll
      for (int i = 0; i < 4; ++i) numbers[i] *= fmaf(group.sums[2 * c + i % 2][2 * row + i / 2], factor, -offset);
      store_results<4>(to + 16 * c, numbers, meaning);
    }
  }
}
