// What attention with tensor cores has in common for all types: tiles of rows in shared memory, the instructions, and
// the mask of a warp's scores. A warp holds the scores of 16 queries and kStep keys as mma.sync leaves them: of block n
// a lane has the keys 8 n + lane % 4 * 2 and the next, of the queries lane / 4 and that + 8.
//
// Behind shared_copies.cuh. Defined before, too: WARPS, groups of queries of a block; SPLIT, warps of a group, each with
// its part of every stage's keys; STEPS, of 32 keys of each warp in a stage; MASK_PAIRS, 1 where two neighbours of the
// mask are one access; MASK_ROWS, 0 where all queries have the same.
#pragma once

constexpr int kStep = 32;                     // keys of a warp at once
constexpr int kKeys = kStep * SPLIT * STEPS;  // of a stage
constexpr int kRowBytes = HEAD * static_cast<int>(sizeof(DATA_TYPE));
constexpr int kChunks = kRowBytes / 16;
constexpr int kChunkElements = HEAD / kChunks;
constexpr int kSlices = kRowBytes / 32;  // what one instruction multiplies
constexpr int kColumns = HEAD / 8;       // blocks of eight columns of v and y
constexpr int kTileBytes = kKeys * kRowBytes;
constexpr int kThreads = 32 * WARPS * SPLIT;
constexpr int kBlocks = kStep / 8;  // of eight keys, of a warp

// Where a chunk of a row lies: eight rows that ldmatrix reads together are in different banks.
__device__ __forceinline__ unsigned place(int row, int chunk) {
  constexpr int kMix = kChunks < 8 ? kChunks : 8;
  return row * kRowBytes + ((chunk ^ (row / (8 / kMix) & (kMix - 1))) << 4);
}

// kRows rows of a matrix from `first` on, zeros behind the last.
template <int kRows>
__device__ __forceinline__ void copy_rows(unsigned to, const DATA_TYPE* from, long long pitch, long long first,
                                          long long rows) {
  constexpr int kAll = kRows * kChunks;
  constexpr int kTogether = SPLIT > 1 ? 4 : 1;  // addresses in registers
#pragma unroll kTogether
  for (int i = 0; i < (kAll + kThreads - 1) / kThreads; ++i) {
    const int at = threadIdx.x + kThreads * i;
    if (kAll % kThreads != 0 && at >= kAll) break;
    const int row = at / kChunks, chunk = at % kChunks;
    const bool inside = first + row < rows;
    const DATA_TYPE* source = inside ? from + (first + row) * pitch + chunk * kChunkElements : from;
    copy_chunk(to + place(row, chunk), source, inside);
  }
}

// The same, with rows and columns of two bytes exchanged.
__device__ __forceinline__ void load_turned(unsigned (&to)[4], unsigned from) {
#ifdef HUSSAR_EMULATED
  hussar_load_turned(to, from);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from)
               : "memory");
#endif
}

__device__ __forceinline__ void multiply_halves(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#ifdef HUSSAR_EMULATED
  hussar_multiply<half>(sum, a, b0, b1);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}
__device__ __forceinline__ unsigned half_pair(float low, float high) {
#ifdef HUSSAR_EMULATED
  return from_float<half>(low).bits | static_cast<unsigned>(from_float<half>(high).bits) << 16;
#else
  unsigned pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}

__device__ __forceinline__ float power_of_two(float x) {
#ifdef HUSSAR_EMULATED
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

// Two neighbours of the mask.
template <class T>
struct alignas(2 * sizeof(T)) MaskPair {
  T values[2];
  __device__ __forceinline__ void set(int i, T value) { values[i] = value; }
  __device__ __forceinline__ float number(int i) const { return read<float>(values[i]); }
};
#if !MASK_ROWS
// In one register until they are needed, as the compiler keeps halves by itself. Where there are two rows of them, it
// has the registers to take them apart.
template <>
struct alignas(4) MaskPair<bfloat> {
  unsigned word;
  __device__ __forceinline__ void set(int i, bfloat value) {
    word = i == 0 ? (word & 0xffff0000U) | value.bits : (word & 0xffffU) | static_cast<unsigned>(value.bits) << 16;
  }
  __device__ __forceinline__ float number(int i) const {
    return __uint_as_float(i == 0 ? word << 16 : word & 0xffff0000U);
  }
};
#endif

// What the mask adds to these scores, for the rows `query` and query + 8.
struct Masked {
  MaskPair<MASK_TYPE> pairs[kBlocks][MASK_ROWS + 1];
};
__device__ __forceinline__ void load_mask(Masked& masked, const Attention& work, const MASK_TYPE* mask, int query,
                                          int first) {
  const int key = first + static_cast<int>(threadIdx.x) % 4 * 2, keys = static_cast<int>(work.keys);
#pragma unroll
  for (int half_row = 0; half_row <= MASK_ROWS; ++half_row) {
    const int row = min(query + 8 * half_row, static_cast<int>(work.queries) - 1);
    const MASK_TYPE* from = mask + (MASK_ROWS ? row * work.mask_row : 0) + key * work.mask_column;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      MaskPair<MASK_TYPE>& pair = masked.pairs[n][half_row];
#if MASK_PAIRS
      if (key + 8 * n < keys) pair = *reinterpret_cast<const MaskPair<MASK_TYPE>*>(from + 8 * n);
#else
      if (key + 8 * n < keys) pair.set(0, from[8 * n * work.mask_column]);
      if (key + 8 * n + 1 < keys) pair.set(1, from[(8 * n + 1) * work.mask_column]);
#endif
    }
  }
}
