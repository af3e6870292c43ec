// Where blocks of a cluster share the k of a tile of product_hopper.cuh (PRODUCT_SPLIT): partial sums go from shared
// memory to shared memory, and every block finishes its rows.
#pragma once

#if PRODUCT_SPLIT > 1

constexpr int kSplitRows = PRODUCT_BM / PRODUCT_SPLIT;
constexpr int kPartialBytes = PRODUCT_BM * PRODUCT_BN * 4;
// Whether the ring has room for partial sums that no stage of this tile uses; else all have to be at rest before.
constexpr int kUsedStages = kMostOfPart < PRODUCT_STAGES ? kMostOfPart : PRODUCT_STAGES;
constexpr bool kPartialsApart = kSteps > 0 && kUsedStages * kStageBytes + kPartialBytes <= kRingBytes;
// `index` counts 16 bytes of one block of the cluster.
__device__ __forceinline__ unsigned partial_place(const Ring& ring, int rank, int index) {
  constexpr int kFirst = kPartialsApart ? kRingBytes - kPartialBytes : 0;
  return ring.stages + kFirst + rank * (kPartialBytes / PRODUCT_SPLIT) + index * 16;
}
__device__ __forceinline__ void send_partial(const Ring& ring, const Work& work, int to, int index,
                                             const ProductSum (&value)[4]) {
  cluster_store(partial_place(ring, work.rank, index), static_cast<unsigned>(to), word_of(value[0]), word_of(value[1]),
                word_of(value[2]), word_of(value[3]));
}
__device__ __forceinline__ void sum_partials(const Ring& ring, int index, ProductSum (&value)[4]) {
#pragma unroll
  for (int rank = 0; rank < PRODUCT_SPLIT; ++rank) {
    unsigned part[4];
    shared_load(partial_place(ring, rank, index), part[0], part[1], part[2], part[3]);
#pragma unroll
    for (int c = 0; c < 4; ++c) value[c] = rank == 0 ? sum_of(part[c]) : value[c] + sum_of(part[c]);
  }
}

// What blocks of a cluster wait for: that every ring is at rest, and that every partial sum has arrived.
__device__ __forceinline__ void rings_rest() {
  if (!kPartialsApart) cluster_meet_only();
}

// A block finishes some slabs of rows, 8 of sparse products and 16 of dense ones. A slab's sums are kept as its warp
// held them, 16 bytes of each thread behind each other, so that a warp writes and reads 512 bytes in a row.
#if PRODUCT_SPARSE

constexpr int kSlabs = kSplitRows / 8;
static_assert(kSplitRows % 8 == 0);

__device__ __forceinline__ void send_partials(const Accumulator& sum, const Ring& ring, const Work& work, int) {
#pragma unroll
  for (int slab = 0; slab < PRODUCT_BM / 8; ++slab) {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      const ProductSum value[4] = {sum[i][slab * 4], sum[i][slab * 4 + 1], sum[i][slab * 4 + 2], sum[i][slab * 4 + 3]};
      const int index = (slab % kSlabs * kBlocks + i) * kMultiplyingThreads + static_cast<int>(threadIdx.x);
      send_partial(ring, work, slab / kSlabs, index, value);
    }
  }
}

// Every thread finishes the columns that it has, of this block's rows.
__device__ __forceinline__ void finish_partials(Accumulator& sum, const Ring& ring, const Work& work,
                                                const Place& place, int warpgroup, bool whole, ProductOutput* y,
                                                const ProductProblem& problem, const EpilogueOperands& operands) {
#pragma unroll
  for (int slab = 0; slab < kSlabs; ++slab) {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      ProductSum value[4];
      sum_partials(ring, (slab * kBlocks + i) * kMultiplyingThreads + static_cast<int>(threadIdx.x), value);
#pragma unroll
      for (int c = 0; c < 4; ++c) sum[i][slab * 4 + c] = value[c];
    }
  }
  product_finish<kSlabs * 2, kWidth, true>(
      y, problem, operands, place.entry, whole,
      [&](int group, ProductSum(&value)[kWidth]) { take_group(sum, group, value); },
      [&](int group) { return place.row + work.rank * kSplitRows + group_row(group); },
      [&](int group) { return place.column + warpgroup * kGroupN + group_column(group); });
}

#else

constexpr int kSlabs = kSplitRows / 16;
constexpr int kPieces = PRODUCT_BN / 16;  // of a slab, 8 rows x 32 columns
static_assert(kSplitRows % 16 == 0);

__device__ __forceinline__ int piece_index(int slab, int piece, int half, int lane) {
  return ((slab * kPieces + piece) * 2 + half) * 32 + lane;
}

__device__ __forceinline__ void send_partials(const Accumulator& sum, const Ring& ring, const Work& work,
                                              int warpgroup) {
  const int warp = static_cast<int>(threadIdx.x) / 32 % 4, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    ProductSum value[8];
    take_group(sum, group, value);
    const int slab = first_row_of(warpgroup) / 16 + 4 * (group % (kBlocks * 2) / 2) + warp;
    const int piece = group / (kBlocks * 2) * 2 + group % 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const ProductSum four[4] = {value[half * 4], value[half * 4 + 1], value[half * 4 + 2], value[half * 4 + 3]};
      send_partial(ring, work, slab / kSlabs, piece_index(slab % kSlabs, piece, half, lane), four);
    }
  }
}

// A piece at a time for each warp.
__device__ __forceinline__ void finish_partials(Accumulator&, const Ring& ring, const Work& work, const Place& place,
                                                int, bool whole, ProductOutput* y, const ProductProblem& problem,
                                                const EpilogueOperands& operands) {
  constexpr int kWarps = kMultiplyingThreads / 32;
  constexpr int kAll = kSlabs * kPieces;
  constexpr int kMine = (kAll + kWarps - 1) / kWarps;
  static_assert(kMine * kWarps == kAll || kMine == 1);
  const int first = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (first >= kAll) return;
  product_finish<kMine, kWidth, false>(
      y, problem, operands, place.entry, whole,
      [&](int group, ProductSum(&value)[8]) {
        const int item = first + group * kWarps;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          ProductSum four[4];
          sum_partials(ring, piece_index(item / kPieces, item % kPieces, half, lane), four);
#pragma unroll
          for (int c = 0; c < 4; ++c) value[half * 4 + c] = four[c];
        }
      },
      [&](int group) {
        const int item = first + group * kWarps;
        return place.row + work.rank * kSplitRows + item / kPieces * 16 + item % 2 * 8 + lane / 4;
      },
      [&](int group) { return place.column + (first + group * kWarps) % kPieces / 2 * 32 + lane % 4 * 8; });
}

#endif

// Adds the cluster's partial sums: every block sends each other block its rows, then finishes its own.
__device__ __forceinline__ void finish_split(Accumulator& sum, const Ring& ring, const Work& work, const Place& place,
                                             int warpgroup, bool whole, ProductOutput* y, const ProductProblem& problem,
                                             const EpilogueOperands& operands) {
  if (work.step_last == work.step_first) {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i)
#pragma unroll
      for (int j = 0; j < HOPPER_N / 2; ++j) sum[i][j] = 0;
  }
  rings_rest();
  send_partials(sum, ring, work, warpgroup);
  cluster_meet();
  finish_partials(sum, ring, work, place, warpgroup, whole, y, problem, operands);
}

#endif
