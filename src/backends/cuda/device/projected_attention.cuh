// A projection and the attention that reads it (ops/projected_attention.h) as one kernel of Hopper: a block multiplies
// the rows of one sequence by the columns of queries, keys and values of one head of 64, or of two of 32, finishes the
// sums as the projection alone would, and puts them into shared memory, behind the ring of the product. There its eight
// multiplying warps, with 16 queries each, do the attention, while the copies of the next tile are on their way.
//
// Behind hopper_tiles.cuh, with PRODUCT_HEADS 1, BM 128, BN 192, PINGPONG 0 and PRODUCT_BLOCKS_PER_SM 1; and, in a
// namespace `heads`, attention_pieces.cuh with attention_int8_pieces.cuh (ATTENTION_BYTES 1) or
// attention_tensor_pieces.cuh (0), which are defined for: WARPS 8, SPLIT 1, STEPS 4, GROUPS 1, PACKED 0, CAUSAL 0,
// MASK_ROWS 0, in heads that share no keys. DATA_TYPE is that of PRODUCT_OUTPUT. TOKENS, at most 128: queries, and
// keys, of a sequence.
//
// Launch: parameters (TensorMap of X, TensorMap of W, ProductProblem, EpilogueOperands, Attention or ByteAttention,
// ByteMeaning) in this order. Of Attention q, k and v are not read. Of ProductProblem m is the rows of a sequence.
//   grid    CLUSTER_M * CLUSTER_N * clusters. There are ceil(batch / CLUSTER_M) * ceil(n / 192 / CLUSTER_N) groups of
//           tiles, and at most as many clusters as fit the GPU at once, which walk the rest
//   block   384 threads
//   shared  2048 + STAGES * ((128 + 192) * 128 + 16) + 3 * 128 * 64 * sizeof(DATA_TYPE) bytes, dynamic
// X: rank 3, dims {k, rows of a sequence, batch}, box {K, 128 / CLUSTER_N, 1}; W as product_hopper.cuh has it.
#pragma once

namespace heads {

constexpr int kTogether = kPartColumns / HEAD;  // heads of a tile
constexpr int kPlaces = 3 * kTogether;          // tiles of rows in shared memory: those of the queries, keys, values
static_assert(kKeys == 128 && PRODUCT_BM == 128 && PRODUCT_BN == 3 * kPartColumns && HEAD == V_HEAD && !CAUSAL);
static_assert(kThreads == kMultiplyingThreads && kPlaces * kTileBytes == 384 * 64 * sizeof(DATA_TYPE));
static_assert(TOKENS >= 1 && TOKENS <= kKeys);
constexpr int kBiasBytes = kTogether * kKeys * 4;

// Known to the compiler: nothing is compared with the last key where there are whole steps.
__device__ __forceinline__ Sequence own_sequence(int batch) { return {batch, 0, TOKENS, TOKENS}; }

#if ATTENTION_BYTES
using Work = ByteAttention;
__device__ __forceinline__ const Attention& rows_of(const Work& work) { return work.rows; }
#else
using Work = Attention;
__device__ __forceinline__ const Attention& rows_of(const Work& work) { return work; }
#endif

// The shared memory behind the ring, and its address.
struct Tiles {
  unsigned char* data;
  unsigned at;
  __device__ __forceinline__ float* biases() const { return reinterpret_cast<float*>(data + kPlaces * kTileBytes); }
  // Of the queries (0), keys (1) or values (2) of a head of the tile.
  __device__ __forceinline__ unsigned of(int part, int head) const {
    return at + (part * kTogether + head) * kTileBytes;
  }
};

// What of memory a head's attention reads beside queries, keys and values; asked for before it is needed.
struct Early {
#if ATTENTION_BYTES
  float scale[kTogether];
  float mask;  // of the thread's key
#else
  Masked masked;
#endif
};

__device__ __forceinline__ const MASK_TYPE* mask_of(const Attention& rows, int batch, int head) {
  return rows.mask + batch * rows.mask_batch + head * rows.mask_head;
}

#if ATTENTION_BYTES

// A thread's key, and its head of the tile.
__device__ __forceinline__ int own_key() { return static_cast<int>(threadIdx.x) % kKeys; }
__device__ __forceinline__ int own_head() { return static_cast<int>(threadIdx.x) / kKeys % kTogether; }

__device__ __forceinline__ void ask_for(Early& early, const Work& work, int batch, int first_head) {
#pragma unroll
  for (int i = 0; i < kTogether; ++i)
    early.scale[i] = work.q_scales[first_head + i] * work.k_scales[first_head + i] * (SCALE * kLog2E);
#if HAS_MASK
  if (own_key() < TOKENS)
    early.mask = read<float>(mask_of(work.rows, batch, first_head + own_head())[own_key() * work.rows.mask_column]);
#endif
}

// What the mask adds to scores, as finish_scores wants it.
__device__ __forceinline__ void keep_biases(const Tiles& tiles, const Early& early, const Work& work) {
#if HAS_MASK
  if (threadIdx.x >= kTogether * kKeys) return;
  const float scale = kTogether > 1 && own_head() > 0 ? early.scale[kTogether - 1] : early.scale[0];
  const bool is_there = own_key() < TOKENS;
  tiles.biases()[threadIdx.x] = is_there ? fmaxf(fmaf(early.mask, kLog2E, -kCenter * scale), kHidden) : kHidden;
#endif
}

// The warp's queries of head `index` of the tile.
__device__ __forceinline__ void attend(const Tiles& tiles, Early& early, const Work& work, const ByteMeaning& meaning,
                                       int batch, int head, int index) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, query = 16 * warp + lane / 4;
  const Sequence sequence = own_sequence(batch);
  Group groups[1];
  begin_group(groups[0], tiles.of(0, index) + 16 * warp * kRowBytes);
#pragma unroll 1
  for (int first = 0; first < TOKENS; first += kStep) {
    unsigned scores[1][kBlocks][4], weights[1][kBlocks / 2][4];
    score(scores, groups, tiles.of(1, index) + first * kRowBytes);
    const Masked masked = {};
    float logarithms[kBlocks][4];
    finish_scores(logarithms, scores[0], sequence, early.scale[index], tiles.biases() + index * kKeys + first, masked,
                  query, first);
    weigh(weights[0], logarithms, groups[0]);
    add_values(weights, groups, tiles.of(2, index) + first * kRowBytes);
  }
  write_group(groups[0], work, meaning, batch, head, query);
}

#else

__device__ __forceinline__ int own_query() {
  return static_cast<int>(threadIdx.x) / 32 * 16 + static_cast<int>(threadIdx.x) % 32 / 4;
}

__device__ __forceinline__ void ask_for(Early& early, const Work& work, int batch, int first_head) {
  early.masked = {};
  if (HAS_MASK) load_mask(early.masked, work, mask_of(work, batch, first_head), own_query(), 0);
}

__device__ __forceinline__ void keep_biases(const Tiles&, const Early&, const Work&) {}

__device__ __forceinline__ void attend(const Tiles& tiles, Early& early, const Work& work, const ByteMeaning& meaning,
                                       int batch, int head, int index) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, query = own_query();
  const Sequence sequence = own_sequence(batch);
  const MASK_TYPE* const mask = mask_of(work, batch, head);
  if (HAS_MASK && index > 0) load_mask(early.masked, work, mask, query, 0);
  unsigned q[kSlices][4];
#pragma unroll
  for (int c = 0; c < kSlices; ++c)
    load_matrices(q[c], tiles.of(0, index) + place(16 * warp + (lane & 15), 2 * c + (lane >> 4)));
  Rows rows = {};
  rows.largest[0] = rows.largest[1] = kHidden;
#pragma unroll 1
  for (int first = 0; first < TOKENS; first += kStep) {
    float scores[kBlocks][4] = {};
    score(scores, q, tiles.of(1, index) + first * kRowBytes);
    finish_scores(scores, sequence, early.masked, query, first);
    if (HAS_MASK) load_mask(early.masked, work, mask, query, first + kStep);
    weigh(scores, rows);
    add_values(scores, rows, tiles.of(2, index) + first * kRowBytes);
  }
  write_rows(rows, work, meaning, batch, head, query);
}

#endif

}  // namespace heads

// What the projection alone would have written, where attention reads it.
__device__ __forceinline__ void put_rows(const Accumulator& sum, const heads::Tiles& tiles, const Work& work,
                                         const Place& place, int warpgroup, const ProductProblem& problem,
                                         const EpilogueOperands& operands) {
  constexpr int kBatch = PRODUCT_EPILOGUE_BATCH;
  static_assert(kGroups % kBatch == 0);
  const long long first_line = static_cast<long long>(min(place.entry, problem.batch - 1)) * problem.m;
#pragma unroll
  for (int first = 0; first < kGroups; first += kBatch) {
    float value[kBatch][kWidth];
#pragma unroll
    for (int g = 0; g < kBatch; ++g) {
      const int column = row_of_w(work, place, group_column(first + g));
      const long long line = first_line + min(first_row_of(warpgroup) + group_row(first + g), problem.m - 1);
      ProductSum taken[kWidth];
      take_group(sum, first + g, taken);
      SumMeaning<kWidth> meaning;
      load_meaning(meaning, operands, column);
      real_sums(taken, value[g], meaning, row_meaning(operands, line));
      EpilogueInputs<kWidth> inputs;
      load_inputs(inputs, operands, line, column, NothingNear{});
      epilogue_of(value[g], inputs, operands);
    }
#pragma unroll
    for (int g = 0; g < kBatch; ++g) {
      const int column = group_column(first + g), within = column % HEAD * static_cast<int>(sizeof(ProductOutput));
      const int row = first_row_of(warpgroup) + group_row(first + g);
      unsigned char* const to =
          tiles.data + column / HEAD * heads::kTileBytes + heads::place(row, within / 16) + within % 16;
      store_neighbours(reinterpret_cast<ProductOutput*>(to), value[g], operands);
    }
  }
}

// Brings what later warps read of constants into this multiprocessor's cache. Of those warps that nothing else needs.
__device__ __forceinline__ void bring_constants(const Work& work, int thread, const EpilogueOperands& operands,
                                                const heads::Work& attention) {
#ifndef HUSSAR_EMULATED
  constexpr int kColumnGroups = PRODUCT_BN / kWidth;
  if (thread >= kColumnGroups) return;
  for (int group = work.first; group < work.groups; group += work.stride) {
    const Place place = make_place(work, group);
    if (place.column >= work.part) continue;
    const int column = row_of_w(work, place, thread * kWidth);
    SumMeaning<kWidth> meaning = {};
    load_meaning(meaning, operands, column);
    float value[kWidth] = {};
    EpilogueInputs<kWidth> inputs;
    load_inputs(inputs, operands, 0, column, NothingNear{});
    epilogue_of(value, inputs, operands);
    const float* const words = reinterpret_cast<const float*>(&meaning);
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(meaning) / sizeof(float)); ++i) asm volatile("" ::"f"(words[i]));
#pragma unroll
    for (int i = 0; i < kWidth; ++i) asm volatile("" ::"f"(value[i]));
#if ATTENTION_BYTES
    if (thread * kWidth < kPartColumns) asm volatile("" ::"f"(attention.v_scales[place.column + thread * kWidth]));
#endif
  }
#endif
}

// What a multiplying warpgroup (0 or 1) does.
__device__ __forceinline__ void consume(const Ring& ring, const Work& work, int warpgroup, const heads::Tiles& tiles,
                                        const ProductProblem& problem, const EpilogueOperands& operands,
                                        const heads::Work& attention, const ByteMeaning& meaning) {
  product_wait_for_earlier_kernels();
  Position at = {0, 0};
  for (int group = work.first; group < work.groups; group += work.stride) {
    const Place place = make_place(work, group);
    // Blocks of a cluster at the edge have no sequence, or no heads.
    const bool is_there = place.entry < problem.batch && place.column < work.part;
    const int head = place.column / HEAD;
    heads::Early early;
    if (is_there) heads::ask_for(early, attention, place.entry, head);
    Accumulator sum;
    multiply_tile(sum, ring, at, work, warpgroup);
    // All warps have left the tile before, then all rows of this one are there.
    threads_meet<3, kMultiplyingThreads>();
    if (is_there) {
      put_rows(sum, tiles, work, place, warpgroup, problem, operands);
      heads::keep_biases(tiles, early, attention);
    }
    threads_meet<3, kMultiplyingThreads>();
    if (!is_there || static_cast<int>(threadIdx.x) / 32 * 16 >= problem.m) continue;
#pragma unroll
    for (int i = 0; i < heads::kTogether; ++i)
      heads::attend(tiles, early, attention, meaning, place.entry, head + i, i);
  }
}

#if PRODUCT_SHARERS > 1 && !defined(HUSSAR_EMULATED)
#define PRODUCT_CLUSTER __cluster_dims__(PRODUCT_SHARERS, 1, 1)
#else
#define PRODUCT_CLUSTER
#endif

extern "C" __global__ void __launch_bounds__(kThreads, PRODUCT_BLOCKS_PER_SM) PRODUCT_CLUSTER
    projected_attention(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,
                        const __grid_constant__ ProductProblem problem,
                        const __grid_constant__ EpilogueOperands operands,
                        const __grid_constant__ heads::Work attention, const __grid_constant__ ByteMeaning meaning) {
  extern __shared__ unsigned char shared[];
  Ring ring = {};
  const unsigned begin = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  ring.stages = (begin + 1023u) & ~1023u;
  heads::Tiles tiles;
  tiles.at = ring.stages + kRingBytes;
  tiles.data = shared + (tiles.at - begin);
  ring.full = tiles.at + heads::kPlaces * heads::kTileBytes + heads::kBiasBytes;
  ring.empty = ring.full + 8 * PRODUCT_STAGES;
  if (threadIdx.x == 0) {
    tensor_prefetch(x_map);
    tensor_prefetch(w_map);
    for (int s = 0; s < PRODUCT_STAGES; ++s) {
      barrier_init(ring.full + 8 * s, 1);
      barrier_init(ring.empty + 8 * s, kSignals * kReadersWarps);
    }
    barrier_init_done();
  }
  product_allow_next_kernel();
  const Work work = make_work(problem, problem.m);
  if constexpr (PRODUCT_SHARERS > 1) {
    __syncwarp();
    cluster_meet_only();
  } else {
    __syncthreads();
  }
  if (threadIdx.x < kMultiplyingThreads) {
    registers_take<kMultiplyingRegisters>();
    consume(ring, work, own_warpgroup(), tiles, problem, operands, attention, meaning);
  } else {
    registers_give<kCopyingRegisters>();
    if (own_warp() == kMultiplyingThreads / 32 && is_elected()) produce(ring, Maps{x_map, w_map}, work, WindowSteps{});
    const int behind = static_cast<int>(threadIdx.x) - (kMultiplyingThreads + 32);
    if (behind >= 0) bring_constants(work, behind, operands, attention);
    __syncwarp();
  }
  if constexpr (PRODUCT_SHARERS > 1) cluster_meet_only();  // no block leaves while others may signal it
}
