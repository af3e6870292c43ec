// Matrix product for every GPU from Ampere on (sm_80, 86, 89, 90): a block computes one tile of Y from a ring of
// shared-memory stages that cp.async fills; tensor cores (ldmatrix, mma.sync) for FP16, BF16, TF32 and bytes, FFMA
// register tiles for FP32. The pipeline is the multistage scheme of the Ampere tuning guide. Contract:
// product_contract.cuh, with
//   PRODUCT_BM, PRODUCT_BN            the block's tile
//   PRODUCT_WARPS_M, PRODUCT_WARPS_N  warps that share it; a warp's part is 16s x 32s (tensor cores) or 32 x 64 (FP32)
//   PRODUCT_STAGES                    stages of the ring, 2 to 4
//
//   PRODUCT_WINDOWS                 1: rows of X are windows of pictures (convolution_rows.cuh, between this and the
//                                   contract)
//   PRODUCT_SPARSE                  1: of each four of k that follow one another W has two at
//                                   most. Then W is the left operand of the products (mma.sp): their rows are its rows,
//                                   their columns rows of X. BN is a multiple of 64, a warp's part 8s x 32 or 8s x 64
// and shared_copies.cuh and warp_product.cuh.
//
// Launch: parameters (x, w, y, ProductProblem, EpilogueOperands[, Windows], rows) in this order; *rows of the m rows
// are needed, the first ones, and tiles behind them are not computed; null: all are
//   grid    (ceil(m / BM) * ceil(n / BN), 1, batch)
//   block   32 * WARPS_M * WARPS_N threads
//   shared  STAGES * (BM + BN) * 128 bytes, dynamic; sparse: STAGES * (BM * 128 + BN * (64 + 16 / bytes of an element))
//
// Sparse W: ceil(n / 64) * 64 rows of w_pitch elements that there are, zeros behind k; in each 64 rows, row 16i + 8h +
// l (l < 8, h < 2) is column 8l + 2i + h. Right behind them, 32-bit words say where the elements are: [rows / 64]
// [ceil(k / K)][128 threads][K / 64], K = 128 bytes of X, four threads for every row l and the one eight behind it:
// multiply_sparse.
//
// A stage holds 128 bytes of every row. Its 16-byte chunks lie XORed with bits of the row
// number, so that neither cp.async nor ldmatrix meets a bank twice. Rows of W are read in an order that leaves every
// thread with eight neighbouring columns of the result: no exchange is needed before the epilogue.
#pragma once

constexpr int kRowBytes = 128;
constexpr int kChunks = kRowBytes / 16;
constexpr int kChunkElements = 16 / static_cast<int>(sizeof(ProductInput));
constexpr int kBlockK = kRowBytes / static_cast<int>(sizeof(ProductInput));
// Of W: what is kept of a row, and the words that say where it was.
constexpr int kThin = PRODUCT_SPARSE ? 2 : 1;
constexpr int kRowBytesW = kRowBytes / kThin;
constexpr int kWords = PRODUCT_SPARSE ? kBlockK / 64 : 0;  // of a thread, for 16 rows
constexpr int kWordBytes = 8 * kWords;                     // of a row
constexpr int kStageBytes = PRODUCT_BM * kRowBytes + PRODUCT_BN * (kRowBytesW + kWordBytes);
constexpr int kThreads = 32 * PRODUCT_WARPS_M * PRODUCT_WARPS_N;
constexpr int kWarpM = PRODUCT_BM / PRODUCT_WARPS_M;
constexpr int kWarpN = PRODUCT_BN / PRODUCT_WARPS_N;
constexpr int kRowsPerPass = kThreads / kChunks;  // rows that the block copies at once, a chunk per thread
static_assert(PRODUCT_BM % kRowsPerPass == 0 && PRODUCT_BN % (kRowsPerPass * kThin) == 0);

// Where chunk `chunk` of a row lies. Eight rows read together must differ in the bits used: eight neighbours for X; for
// W, pairs of neighbours eight rows apart (tensor cores), rows eight apart (FP32), or eight neighbours, of which two
// fill the banks once (sparse).
__device__ __forceinline__ unsigned x_place(int row, int chunk) { return row * kRowBytes + ((chunk ^ (row & 7)) << 4); }
__device__ __forceinline__ unsigned w_place(int row, int chunk) {
#if PRODUCT_INPUT == PRODUCT_FP32
  const int mix = (row >> 3) & 7;
#elif PRODUCT_SPARSE
  const int mix = (row >> 1) & 3;
#else
  const int mix = (row & 1) | ((row >> 2) & 6);
#endif
  return row * kRowBytesW + ((chunk ^ mix) << 4);
}

// One operand's way from memory: the thread's chunk of rows first, first + kRowsPerPass, ...; of W kThin times as many
// rows at once.
template <bool kIsX>
struct Copier {
  static constexpr int kThinner = kIsX ? 1 : kThin;
  static constexpr int kRowChunks = kChunks / kThinner;
  static constexpr int kPassRows = kRowsPerPass * kThinner;
  const ProductInput* base;  // the matrix
  const ProductInput* from;  // the thread's chunk in its first row
  long long pass_pitch;      // elements from pass to pass
  int rows_left;             // rows of the matrix from the thread's first row on
};

template <bool kIsX>
__device__ __forceinline__ Copier<kIsX> make_copier(const ProductInput* base, long long pitch, int first_row,
                                                    int rows) {
  using Way = Copier<kIsX>;
  const int row = first_row + static_cast<int>(threadIdx.x) / Way::kRowChunks;
  const int chunk = static_cast<int>(threadIdx.x) % Way::kRowChunks;
  return {base, base + row * pitch + chunk * kChunkElements, Way::kPassRows * pitch, rows - row};
}

template <int kRows, bool kIsX>
__device__ __forceinline__ void copy_rows(const Copier<kIsX>& copier, unsigned stage, int step, int k) {
  using Way = Copier<kIsX>;
  const int row = static_cast<int>(threadIdx.x) / Way::kRowChunks;
  const int chunk = static_cast<int>(threadIdx.x) % Way::kRowChunks;
  constexpr int kBlock = kBlockK / Way::kThinner;
  const bool inside_k = (step * kBlock + chunk * kChunkElements) * Way::kThinner < k;
#pragma unroll
  for (int pass = 0; pass < kRows / Way::kPassRows; ++pass) {
    const int within = row + pass * Way::kPassRows;
    const bool inside = inside_k && pass * Way::kPassRows < copier.rows_left;
    const ProductInput* from = copier.from + pass * copier.pass_pitch + static_cast<long long>(step) * kBlock;
    copy_chunk(stage + (kIsX ? x_place(within, chunk) : w_place(within, chunk)), inside ? from : copier.base, inside);
  }
}

#if PRODUCT_WINDOWS

constexpr int kPasses = PRODUCT_BM / kRowsPerPass;

__device__ __forceinline__ void copy_windows(const WindowRows<kPasses>& rows, const Windows& windows,
                                             const ProductInput* x, unsigned stage, int step, int k) {
  const int row = static_cast<int>(threadIdx.x) / kChunks;
  const int chunk = static_cast<int>(threadIdx.x) % kChunks;
  const int i = step * kBlockK + chunk * kChunkElements;
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const ProductInput* from = i < k ? window_chunk(rows, windows, pass, i) : nullptr;
    copy_chunk(stage + x_place(row + pass * kRowsPerPass, chunk), from != nullptr ? from : x, from != nullptr);
  }
}

#endif

#if PRODUCT_SPARSE

constexpr int kBlocksM = kWarpM / 8;
constexpr int kBlocksN = kWarpN / 16;
static_assert(kWarpM % 8 == 0 && (kWarpN == 32 || kWarpN == 64) && PRODUCT_BN % 64 == 0);
static_assert(sizeof(ProductInput) <= 2);
using Accumulator = ProductSum[kBlocksN][kBlocksM][4];

// The words of the first of 64 rows that a tile of W begins with.
struct WordCopier {
  const unsigned char* words;
  int first, last;  // of 64 rows, in the tile and in W
  int steps;
};
__device__ __forceinline__ WordCopier make_word_copier(const ProductInput* w, long long pitch, int first_row, int rows,
                                                       int steps) {
  return {reinterpret_cast<const unsigned char*>(w + rows * pitch), first_row / 64, rows / 64 - 1, steps};
}

__device__ __forceinline__ void copy_words(const WordCopier& copier, unsigned stage, int step) {
  constexpr int kAll = PRODUCT_BN * kWordBytes / 16, kOf64 = 64 * kWordBytes / 16;
#pragma unroll
  for (int first = 0; first < kAll; first += kThreads) {
    const int chunk = first + static_cast<int>(threadIdx.x);
    if (kAll % kThreads != 0 && chunk >= kAll) break;
    // Behind the last rows of W lies nothing.
    const long long block = min(copier.first + chunk / kOf64, copier.last);
    copy_chunk(stage + chunk * 16, copier.words + ((block * copier.steps + step) * kOf64 + chunk % kOf64) * 16, true);
  }
}

// Adds the product of 16 x 32 bytes of W, two elements of each four, and 64 x 8 bytes of X. `where` says which: four
// bits for each four of k, the places of the two, the first in the lower bits. Of bytes, the thread has the word for
// row lane / 4 + 8 * (lane % 2), k from 32 * (lane / 2 % 2) on. Of halves, two threads of each four have words, which
// two kPart says: k from 16 * (lane % 2) on, for row lane / 4 in the lower half and the one eight behind it in the
// upper (PTX ISA, "Matrix fragments for multiply-accumulate operation with sparse matrix A").
template <int kPart>
__device__ __forceinline__ void multiply_sparse(ProductSum (&sum)[4], const unsigned (&w)[4], const unsigned (&x)[4],
                                                unsigned where) {
#ifdef HUSSAR_EMULATED
  hussar_multiply_sparse<HUSSAR_ELEMENT>(sum, w, x, where, kPart);
#else
// Places that ascend have a form of their own, and newer assemblers warn of the other.
#if __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ >= 1205
#define HUSSAR_MMA_SPARSE "mma.sp::ordered_metadata.sync.aligned."
#else
#define HUSSAR_MMA_SPARSE "mma.sp.sync.aligned."
#endif
#if PRODUCT_INPUT == PRODUCT_FP16
#define HUSSAR_MMA "m16n8k32.row.col.f32.f16.f16.f32"
  constexpr int kSelector = kPart;
#elif PRODUCT_INPUT == PRODUCT_BF16
#define HUSSAR_MMA "m16n8k32.row.col.f32.bf16.bf16.f32"
  constexpr int kSelector = kPart;
#elif PRODUCT_INPUT == PRODUCT_FP8
#define HUSSAR_MMA "m16n8k64.row.col.f32.e4m3.e4m3.f32"
  constexpr int kSelector = 0;
#elif PRODUCT_X_SIGNED
#define HUSSAR_MMA "m16n8k64.row.col.s32.s8.s8.s32"
  constexpr int kSelector = 0;
#else
#define HUSSAR_MMA "m16n8k64.row.col.s32.s8.u8.s32"
  constexpr int kSelector = 0;
#endif
  asm volatile(HUSSAR_MMA_SPARSE HUSSAR_MMA
               " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;"
               : PRODUCT_SUM_OPERAND(sum[0]), PRODUCT_SUM_OPERAND(sum[1]), PRODUCT_SUM_OPERAND(sum[2]),
                 PRODUCT_SUM_OPERAND(sum[3])
               : "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]), "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(where),
                 "n"(kSelector));
#undef HUSSAR_MMA
#undef HUSSAR_MMA_SPARSE
#endif
}

// The words of 16 rows of W for a stage.
__device__ __forceinline__ void load_words(unsigned (&to)[kWords], unsigned from) {
#ifdef HUSSAR_EMULATED
  for (int i = 0; i < kWords; ++i) to[i] = hussar_load_word(from + 4 * i);
#else
  if constexpr (kWords == 2)
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "r"(from) : "memory");
  else
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(to[0]) : "r"(from) : "memory");
#endif
}

// Adds the product of 64 bytes of X and what is kept of W for them.
template <int kPart>
__device__ __forceinline__ void multiply_part(Accumulator& sum, unsigned stage_x, unsigned stage_w,
                                              const unsigned (&where)[kBlocksN][kWords], int x_row, int w_row) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  unsigned w[kBlocksN][4];
#pragma unroll
  for (int j = 0; j < kBlocksN; ++j) load_matrices(w[j], stage_w + w_place(w_row + 16 * j, 2 * kPart + (lane >> 4)));
#pragma unroll
  for (int i = 0; i < kBlocksM; ++i) {
    unsigned x[4];
    load_matrices(x, stage_x + x_place(x_row + 8 * i, 4 * kPart + (lane >> 3)));
#pragma unroll
    for (int j = 0; j < kBlocksN; ++j) multiply_sparse<kPart>(sum[j][i], w[j], x, where[j][kPart * (kWords - 1)]);
  }
}

__device__ __forceinline__ void multiply_stage(Accumulator& sum, unsigned stage_x, unsigned stage_w, int first_m,
                                               int first_n) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const unsigned words = stage_w + PRODUCT_BN * kRowBytesW;
  unsigned where[kBlocksN][kWords];
#pragma unroll
  for (int j = 0; j < kBlocksN; ++j) load_words(where[j], words + ((first_n / 16 + j) * 32 + lane) * 4 * kWords);
  multiply_part<0>(sum, stage_x, stage_w, where, first_m + (lane & 7), first_n + (lane & 15));
  multiply_part<1>(sum, stage_x, stage_w, where, first_m + (lane & 7), first_n + (lane & 15));
}

// The groups of neighbouring columns that a thread holds, one for each of its rows, and their place in the tile: warps
// of 32 columns have the even or the odd fours of 64.
constexpr int kGroups = 2 * kBlocksM;
constexpr int kWidth = 2 * kBlocksN;
__device__ __forceinline__ void take_group(const Accumulator& sum, int group, ProductSum (&value)[kWidth]) {
#pragma unroll
  for (int c = 0; c < kWidth; ++c) value[c] = sum[c / 2][group / 2][c % 2 * 2 + group % 2];
}
__device__ __forceinline__ int group_row(int group) {
  return 8 * (group / 2) + 2 * (static_cast<int>(threadIdx.x) & 3) + group % 2;
}
__device__ __forceinline__ int group_column(int) { return 8 * ((static_cast<int>(threadIdx.x) & 31) >> 2); }
__device__ __forceinline__ int first_column_of(int first_n) { return first_n / 64 * 64 + first_n % 64 / 8; }

#else

constexpr int kWidth = 8;
__device__ __forceinline__ int first_column_of(int first_n) { return first_n; }

#if PRODUCT_INPUT != PRODUCT_FP32

constexpr int kBlocksM = kWarpM / 16;
constexpr int kBlocksN = kWarpN / 8;
static_assert(kWarpM % 16 == 0 && kWarpN % 32 == 0);
using Accumulator = ProductSum[kBlocksM][kBlocksN][4];

// Adds one stage's product to the warp's sums. Column block b of every 32 columns takes W's rows 8i + 2b and 8i + 2b +
// 1, i < 4: the two columns that a thread holds of each of the four blocks are then eight neighbours.
__device__ __forceinline__ void multiply_stage(Accumulator& sum, unsigned stage_x, unsigned stage_w, int first_m,
                                               int first_n) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int x_row = first_m + (lane & 15);
  const int w_row = first_n + ((lane & 6) << 2) + ((lane >> 4) << 1) + (lane & 1);
#pragma unroll
  for (int chunk = 0; chunk < kChunks; chunk += 2) {
    unsigned a[kBlocksM][4];
#pragma unroll
    for (int i = 0; i < kBlocksM; ++i) load_matrices(a[i], stage_x + x_place(x_row + 16 * i, chunk + (lane >> 4)));
#pragma unroll
    for (int j = 0; j < kBlocksN; j += 2) {
      unsigned b[4];
      load_matrices(b, stage_w + w_place(w_row + 8 * (j & ~3) + 2 * (j & 3), chunk + ((lane >> 3) & 1)));
#pragma unroll
      for (int i = 0; i < kBlocksM; ++i) {
        multiply(sum[i][j], a[i], b[0], b[1]);
        multiply(sum[i][j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

// The groups of eight neighbouring columns that a thread holds, and their place in the warp's part.
constexpr int kGroups = kBlocksM * kBlocksN / 2;
__device__ __forceinline__ void take_group(const Accumulator& sum, int group, ProductSum (&value)[8]) {
  const int i = group % (kBlocksM * 2), j = group / (kBlocksM * 2) * 4;
#pragma unroll
  for (int c = 0; c < 8; ++c) value[c] = sum[i / 2][j + c / 2][(i % 2) * 2 + c % 2];
}
__device__ __forceinline__ int group_row(int group) {
  return 8 * (group % (kBlocksM * 2)) + ((static_cast<int>(threadIdx.x) & 31) >> 2);
}
__device__ __forceinline__ int group_column(int group) {
  return 32 * (group / (kBlocksM * 2)) + 8 * (static_cast<int>(threadIdx.x) & 3);
}

#else

static_assert(kWarpM == 32 && kWarpN == 64);
using Accumulator = float[8][8];

// A thread owns rows lane / 8 + 4i and columns 8 * (lane % 8) + j of the warp's 32 x 64.
__device__ __forceinline__ void multiply_stage(Accumulator& sum, unsigned stage_x, unsigned stage_w, int first_m,
                                               int first_n) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const auto load_chunk = [](unsigned from) {
    float4 value;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
                 : "r"(from)
                 : "memory");
    return value;
  };
#pragma unroll 2
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    float4 w[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) w[j] = load_chunk(stage_w + w_place(first_n + 8 * (lane & 7) + j, chunk));
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float4 x = load_chunk(stage_x + x_place(first_m + (lane >> 3) + 4 * i, chunk));
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        sum[i][j] = fmaf(x.x, w[j].x, sum[i][j]);
        sum[i][j] = fmaf(x.y, w[j].y, sum[i][j]);
        sum[i][j] = fmaf(x.z, w[j].z, sum[i][j]);
        sum[i][j] = fmaf(x.w, w[j].w, sum[i][j]);
      }
    }
  }
}

constexpr int kGroups = 8;
__device__ __forceinline__ void take_group(const Accumulator& sum, int group, ProductSum (&value)[8]) {
#pragma unroll
  for (int c = 0; c < 8; ++c) value[c] = sum[group][c];
}
__device__ __forceinline__ int group_row(int group) { return ((static_cast<int>(threadIdx.x) & 31) >> 3) + 4 * group; }
__device__ __forceinline__ int group_column(int) { return 8 * (static_cast<int>(threadIdx.x) & 7); }

#endif
#endif

// Said that one block is enough, the compiler does not spill a register to have room for three.
#if PRODUCT_SPARSE && PRODUCT_INPUT == PRODUCT_FP8
#define PRODUCT_BOUNDS kThreads, 1
#else
#define PRODUCT_BOUNDS kThreads
#endif

extern "C" __global__ void __launch_bounds__(PRODUCT_BOUNDS)
    PRODUCT_KERNEL(const ProductInput* x, const ProductInput* w, ProductOutput* y,
                   const __grid_constant__ ProductProblem problem, const __grid_constant__ EpilogueOperands operands
#if PRODUCT_WINDOWS
                   ,
                   const __grid_constant__ Windows windows
#endif
                   ,
                   const int* rows) {
  extern __shared__ __align__(128) unsigned char shared[];
  const unsigned ring = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  const int m = problem.m, n = product_n(problem), k = product_k(problem);
  const int entry = static_cast<int>(blockIdx.z);
  const ProductTile tile =
      product_tile(static_cast<int>(blockIdx.x), (m + PRODUCT_BM - 1) / PRODUCT_BM, (n + PRODUCT_BN - 1) / PRODUCT_BN);
#if PRODUCT_WINDOWS
  const WindowRows<kPasses> window_rows = make_window_rows<kPasses>(
      x, windows, tile.row * PRODUCT_BM + static_cast<int>(threadIdx.x) / kChunks, kRowsPerPass, m);
  const auto copy_rows_of_x = [&](unsigned stage, int step) { copy_windows(window_rows, windows, x, stage, step, k); };
#else
  const Copier<true> copy_x =
      make_copier<true>(x + entry * problem.x_stride, problem.x_pitch, tile.row * PRODUCT_BM, m);
  const auto copy_rows_of_x = [&](unsigned stage, int step) { copy_rows<PRODUCT_BM, true>(copy_x, stage, step, k); };
#endif
  const int steps = (k + kBlockK - 1) / kBlockK;
  const ProductInput* const w_entry = w + entry * problem.w_stride;
  const int w_rows = PRODUCT_SPARSE ? (n + 63) / 64 * 64 : n;
  const Copier<false> copy_w = make_copier<false>(w_entry, problem.w_pitch, tile.column * PRODUCT_BN, w_rows);
#if PRODUCT_SPARSE
  const WordCopier word_copier = make_word_copier(w_entry, problem.w_pitch, tile.column * PRODUCT_BN, w_rows, steps);
#endif
  const auto copy_rows_of_w = [&](unsigned stage, int step) {
    copy_rows<PRODUCT_BN, false>(copy_w, stage, step, k);
#if PRODUCT_SPARSE
    copy_words(word_copier, stage + PRODUCT_BN * kRowBytesW, step);
#endif
  };

  product_allow_next_kernel();
#pragma unroll
  for (int s = 0; s < PRODUCT_STAGES - 1; ++s)
    if (s < steps) copy_rows_of_w(ring + s * kStageBytes + PRODUCT_BM * kRowBytes, s);
  product_wait_for_earlier_kernels();
  // Of rows that nobody needs: the weights that are on their way arrive before the block's memory is another's.
  if (rows != nullptr && tile.row * PRODUCT_BM >= *rows) {
    end_copies();
    wait_for_copies<0>();
    return;
  }
#pragma unroll
  for (int s = 0; s < PRODUCT_STAGES - 1; ++s) {
    if (s < steps) copy_rows_of_x(ring + s * kStageBytes, s);
    end_copies();
  }

  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first_m = (warp % PRODUCT_WARPS_M) * kWarpM;
  const int first_n = (warp / PRODUCT_WARPS_M) * kWarpN;
  Accumulator sum = {};
  int reading = 0, writing = PRODUCT_STAGES - 1;
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<PRODUCT_STAGES - 2>();
    __syncthreads();  // the stage has arrived for all, and all have left the stage that is filled next
    const int next = step + PRODUCT_STAGES - 1;
    if (next < steps) {
      copy_rows_of_x(ring + writing * kStageBytes, next);
      copy_rows_of_w(ring + writing * kStageBytes + PRODUCT_BM * kRowBytes, next);
    }
    end_copies();
    const unsigned stage = ring + reading * kStageBytes;
    multiply_stage(sum, stage, stage + PRODUCT_BM * kRowBytes, first_m, first_n);
    reading = reading + 1 == PRODUCT_STAGES ? 0 : reading + 1;
    writing = writing + 1 == PRODUCT_STAGES ? 0 : writing + 1;
  }

  const int row = tile.row * PRODUCT_BM + first_m, column = tile.column * PRODUCT_BN + first_column_of(first_n);
  product_finish<kGroups, kWidth, PRODUCT_SPARSE>(
      y, problem, operands, entry, (tile.row + 1) * PRODUCT_BM <= m && (tile.column + 1) * PRODUCT_BN <= n, NothingAsked{},
      [&](int group, ProductSum(&value)[kWidth]) { take_group(sum, group, value); },
      [&](int group) { return row + group_row(group); }, [&](int group) { return column + group_column(group); });
}
