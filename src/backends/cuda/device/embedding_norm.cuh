// Rows of tables, added, then normalized, behind norm_rows.cuh. An index out of range, counted from either end, gives
// zeros.
//
// Defined before: EMBEDDINGS, how many are added; TABLE_TYPE, of tables that are not of bytes; as bits by the place in
// the list, BYTE_TABLES, HAS_INDICES, and WIDE_INDICES, those of 64 bits.
#pragma once

struct Embedding {
  const void* table;
  const float* scales;  // of the rows of bytes, which stand for (byte - 128) * scale
  const void* indices;
  long long rows;
  // Row r is that of index r / divisor % modulus, or that number itself where there are no indices.
  unsigned divisor, modulus;
};

struct EmbeddingNorm {
  Normalization norm;
  const int* order;  // of rows; null: they stand as they are
  Embedding embeddings[EMBEDDINGS];
};

// One row of each table.
struct Sum {
  const void* from[EMBEDDINGS];
  float scale[EMBEDDINGS];
  unsigned wanted = 0;  // as bits: the others are zeros, and point to what can be read all the same

  __device__ __forceinline__ void read_at(long long at, float (&to)[VECTOR]) const {
    float parts[EMBEDDINGS][VECTOR];
#pragma unroll
    for (int k = 0; k < EMBEDDINGS; ++k) {
      if (BYTE_TABLES >> k & 1) {
        load(static_cast<const unsigned char*>(from[k]) + at, parts[k]);
      } else {
        load(static_cast<const TABLE_TYPE*>(from[k]) + at, parts[k]);
      }
    }
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) {
      to[i] = 0.0f;
#pragma unroll
      for (int k = 0; k < EMBEDDINGS; ++k) {
        const float x = BYTE_TABLES >> k & 1 ? (parts[k][i] - 128.0f) * scale[k] : parts[k][i];
        to[i] += wanted >> k & 1 ? x : 0.0f;
      }
    }
  }
};

__device__ __forceinline__ Sum sum_of(const EmbeddingNorm& work, long long r) {
  const long long own = work.order != nullptr ? work.order[r] : r;
  const bool is_row = own >= 0 && own < work.norm.rows;
  Sum sum;
#pragma unroll
  for (int k = 0; k < EMBEDDINGS; ++k) {
    const Embedding& of = work.embeddings[k];
    unsigned place = is_row ? static_cast<unsigned>(own) : 0U;
    if (of.divisor > 1) place /= of.divisor;
    if (place >= of.modulus) place %= of.modulus;
    long long index = place;
    if (HAS_INDICES >> k & 1) {
      index = WIDE_INDICES >> k & 1 ? static_cast<const long long*>(of.indices)[place]
                                    : static_cast<const int*>(of.indices)[place];
      if (index < 0) index += of.rows;
    }
    const bool is_inside = index >= 0 && index < of.rows;
    if (!is_inside) index = 0;
    if (is_row && is_inside) sum.wanted |= 1U << k;
    const long long at = index * work.norm.length;
    sum.scale[k] = 0.0f;
    if (BYTE_TABLES >> k & 1) {
      sum.from[k] = static_cast<const unsigned char*>(of.table) + at;
      sum.scale[k] = of.scales[index];
    } else {
      sum.from[k] = static_cast<const TABLE_TYPE*>(of.table) + at;
    }
  }
  return sum;
}

// Two blocks are named so that the compiler does not save registers for more, and spill.
extern "C" __global__ void __launch_bounds__(kRowThreads, 2)
    embedding_norm(const __grid_constant__ EmbeddingNorm work) {
  begin_kernel();
  normalize_rows(work.norm, [&](long long r) { return sum_of(work, r); });
}
