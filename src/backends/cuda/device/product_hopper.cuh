// Matrix product for Hopper (sm_90a), FP16, BF16, TF32 and bytes: the copy engine (TMA) fills a ring of shared-memory stages
// guarded by mbarriers; one warpgroup issues the copies and gives its registers to two that multiply (wgmma). Blocks
// are persistent: the copies of the next tile run under the epilogue of this one. The scheme is that of CUTLASS 3's
// warp-specialized kernels. Contract: product_contract.cuh, with
//   PRODUCT_BM, PRODUCT_BN    the tile. BN is 64, 96, 128, 192 or 256
//   PRODUCT_PINGPONG          0: both warpgroups share a tile (BM / 2 rows each). 1: they take turns at tiles, the
//                             epilogue of one under the products of the other. A warpgroup's rows are 64 or 128, and
//                             rows * BN <= 16,384
//   PRODUCT_STAGES            stages of the ring
//   PRODUCT_BLOCKS_PER_SM     2: half the registers, so that two blocks fit a multiprocessor if their rings do
//                             (a warpgroup's rows * BN <= 4,096). Default 1
//   PRODUCT_CLUSTER_M, _N     blocks of a cluster, one above the other (they share W's tile) or side by side (they
//                             share X's): each loads its share of the common tile for all (multicast). Default 1, 1
//   PRODUCT_ROW_BYTES         of a row of X and W that a stage holds: 128, or 64 where k, or a tap, has no more. Not
//                             with SPARSE. Default 128
//   PRODUCT_W_ROWS            of W, in one copy: 32 (default), or more where n is a multiple of 32. Not with SPARSE
//   PRODUCT_SPLIT             blocks of a cluster that share the k of one tile, for products with few tiles: 2, 4 or 8
//                             (default 1; not with PINGPONG or CLUSTER_*). Each finishes BM / SPLIT rows; partial sums
//                             are added in the order of k: results never differ from run to run
//   PRODUCT_WINDOWS           1: rows of X are windows of pictures (implicit GEMM); with CONV_CHANNELS,
//                             CONV_KERNEL_1, CONV_KERNEL_2 (taps, down and across). k is taps * channels: its blocks
//                             are of one tap each, so that a tap has ceil(channels / K) of them. Default 0
//   PRODUCT_SECOND            1 or 2: there is a second product, with X and W of its own and PRODUCT_SECOND_K. 1: its
//                             products go into the same sums. 2: into sums of their own (a warpgroup's rows * BN <=
//                             8,192, or 4,096 with two blocks). With PRODUCT_SECOND_WINDOWS 1 rows of its X are windows
//                             of one tap. Not with SPLIT, SPARSE, WINDOWS or NEAR
//   PRODUCT_SPARSE            1: of each four of k that follow one another W has two at most. Not of floats. Then W is
//                             the left operand of the products: the tensor cores' rows are its rows, columns are rows
//                             of X. BN is 128, or 256 without PINGPONG; a warpgroup's share of it is kGroupN. Not
//                             with SPLIT
//   PRODUCT_NEAR              1 or 2: bytes of an element of the epilogue's operand that the copy engine brings, tiles
//                             two ahead, so that nothing waits for the memory behind the products. BN elements are 128
//                             bytes or a multiple. Not with SPLIT or SPARSE. Default 0: none
//
// Launch: parameters (TensorMap of X, TensorMap of W, y, ProductProblem, EpilogueOperands[, TensorMap of what is
// brought near][, places][, TensorMap of the second X, of the second W][, WindowSteps], rows) in this order; *rows of the m rows are needed, the first ones, and what
// is behind their last tile is not computed; null: all are
//   grid    CLUSTER_M * CLUSTER_N * SPLIT * clusters. There are ceil(ceil(m / BM) / CLUSTER_M) *
//           ceil(ceil(n / BN) / CLUSTER_N) * batch groups of tiles: a cluster for each, but without SPLIT at most as
//           many as fit the GPU at once (they walk the rest). The cluster's size is part of the kernel
//   block   384 threads
//   shared  1024 + STAGES * ((BM + BN (sparse: BN / 2)) * ROW_BYTES + 16) bytes, dynamic; with NEAR 2 * (BM * BN * NEAR
//           + 16) more
// Tensor maps: FLOAT16, BFLOAT16, TFLOAT32 (it rounds) for floats, UINT8 for bytes of either sign; no interleave, a swizzle of
// ROW_BYTES, zeros out of bounds.
// B = bytes of an element, K = ROW_BYTES / B:
//   X: rank 3, dims {k, m, batch}, strides {x_pitch B, x_stride B}, box {K, BM / CLUSTER_N, 1}
//   W: rank 5, dims {k, 2, n / 8, 4, batch}, strides {w_pitch B, 8 w_pitch B, 2 w_pitch B, w_stride B},
//      box {K, 2, 4, 4, 1}; with W_ROWS > 32, of W without a batch, dims {k, 2, 4, 4, n / 32}, strides {w_pitch B,
//      8 w_pitch B, 2 w_pitch B, 32 w_pitch B}, box {K, 2, 4, 4, W_ROWS / 32}
//   X with PRODUCT_WINDOWS: an im2col map of rank 4, dims {channels, width, height, pictures}, lower corner -pads, an
//      upper corner that leaves as many places as there are rows and columns of output, K channels and
//      BM / CLUSTER_N pixels, element strides {1, stride, stride, 1}. So is the second X
//      with PRODUCT_SECOND_WINDOWS
// Sparse W: rank 3, dims {k / 2, n, 1} of the elements that there are, of whole groups of kGroupN rows, box
//   {K / 2, BN / CLUSTER_M, 1}, SWIZZLE_64B. In a group, row 64i + 16w + 8h + l (w < 4, l < 8, h < 2) is row
//   (8w + l) * kGroupN / 32 + 2i + h of the matrix: a thread then holds neighbouring columns of the result. `places`,
//   [rows / 64][ceil(k / 2K)][128 threads][words of 64 of k] says where the elements are: hopper_multiply_sparse.
// A map of X may name more rows than m: rows from m on are computed and dropped.
// What is brought near: rank 3, dims {n, m, batch}, box {128 / NEAR, BM, 1}, a swizzle of 128 bytes.
//
// W's map reads 32 rows in the order 8i + 2b + (0, 1) for b < 4, i < 4: a thread then holds eight neighbouring columns
// of the result and nothing has to be exchanged before the epilogue.
//
// Behind hopper_work.cuh and hopper_tiles.cuh.
#pragma once

#if PRODUCT_SPLIT > 1

// A block finishes some slabs of 16 rows. A slab's sums are kept as its warp held them, a piece of 8 rows x 32 columns
// after the other and twice 16 bytes per thread, so that a warp writes and reads 512 bytes in a row.
constexpr int kSplitRows = PRODUCT_BM / PRODUCT_SPLIT;
constexpr int kSlabs = kSplitRows / 16;
constexpr int kPieces = PRODUCT_BN / 16;
static_assert(kSplitRows % 16 == 0);

// Where the partial sums from block `rank` lie: over the ring, which is no longer needed.
__device__ __forceinline__ unsigned partial_place(const Ring& ring, int rank, int slab, int piece, int half, int lane) {
  return ring.stages + ((((rank * kSlabs + slab) * kPieces + piece) * 2 + half) * 32 + lane) * 16;
}

__device__ __forceinline__ void sum_partials(const Ring& ring, int slab, int piece, int lane, ProductSum (&value)[8]) {
#pragma unroll
  for (int rank = 0; rank < PRODUCT_SPLIT; ++rank) {
    unsigned part[8];
#pragma unroll
    for (int half = 0; half < 2; ++half)
      shared_load(partial_place(ring, rank, slab, piece, half, lane), part[half * 4], part[half * 4 + 1],
                  part[half * 4 + 2], part[half * 4 + 3]);
#pragma unroll
    for (int c = 0; c < 8; ++c) value[c] = rank == 0 ? sum_of(part[c]) : value[c] + sum_of(part[c]);
  }
}

// Adds the cluster's partial sums: every block sends each other block its rows, then finishes its own.
__device__ __forceinline__ void finish_split(Accumulator& sum, const Ring& ring, const Work& work, const Place& place,
                                             int first_row, bool whole, ProductOutput* y, const ProductProblem& problem,
                                             const EpilogueOperands& operands) {
  if (work.step_last == work.step_first) {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i)
#pragma unroll
      for (int j = 0; j < PRODUCT_BN / 2; ++j) sum[0][i][j] = 0;
  }
  cluster_meet_only();  // every ring is at rest
  const int warp = static_cast<int>(threadIdx.x) / 32 % 4, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    ProductSum value[8];
    take_group(sum, group, value);
    const int slab = first_row / 16 + 4 * (group % (kBlocks * 2) / 2) + warp;
    const int piece = group / (kBlocks * 2) * 2 + group % 2;
    const unsigned to = static_cast<unsigned>(slab / kSlabs);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      cluster_store(partial_place(ring, work.rank, slab % kSlabs, piece, half, lane), to, word_of(value[half * 4]),
                    word_of(value[half * 4 + 1]), word_of(value[half * 4 + 2]), word_of(value[half * 4 + 3]));
  }
  cluster_meet();  // every partial sum has arrived
  constexpr int kWarps = kMultiplyingThreads / 32;
  constexpr int kAll = kSlabs * kPieces;  // a piece at a time for each warp
  constexpr int kMine = (kAll + kWarps - 1) / kWarps;
  static_assert(kMine * kWarps == kAll || kMine == 1);
  const int first = static_cast<int>(threadIdx.x) / 32;
  if (first >= kAll) return;
  product_finish<kMine, kWidth, false>(
      y, problem, operands, place.entry, whole, NothingAsked{},
      [&](int group, ProductSum(&value)[8]) {
        const int item = first + group * kWarps;
        sum_partials(ring, item / kPieces, item % kPieces, lane, value);
      },
      [&](int group) {
        const int item = first + group * kWarps;
        return place.row + work.rank * kSplitRows + item / kPieces * 16 + item % 2 * 8 + lane / 4;
      },
      [&](int group) { return place.column + (first + group * kWarps) % kPieces / 2 * 32 + lane % 4 * 8; });
}

#endif

// Half of the registers have no room for what is asked for early, nor have two sets of sums, nor windows.
#if PRODUCT_BLOCKS_PER_SM == 1 && PRODUCT_NEAR == 0 && PRODUCT_SECOND != 2 && !PRODUCT_WINDOWS
using Start = EpilogueStart<kGroups, kWidth>;
#else
using Start = NothingAsked;
#endif

// What a multiplying warpgroup (0 or 1) does.
__device__ __forceinline__ void consume(const Ring& ring, const Work& work, int warpgroup, ProductOutput* y,
                                        const ProductProblem& problem, const EpilogueOperands& operands,
                                        const unsigned char* places, const unsigned char* near_tiles) {
  product_wait_for_earlier_kernels();
  const int steps = work.step_last - work.step_first;
  Position at = {0, 0};
  if (PRODUCT_PINGPONG && warpgroup == 1) {
    at.advance(steps);  // the first tile is the other's
    give_turn(0);
  }
  constexpr int kTurns = PRODUCT_PINGPONG ? 2 : 1;
#if PRODUCT_NEAR
  unsigned turn = PRODUCT_PINGPONG ? static_cast<unsigned>(warpgroup) : 0;
#endif
  for (int group = work.first + (PRODUCT_PINGPONG ? warpgroup * work.stride : 0); group < work.groups;
       group += kTurns * work.stride) {
    const Place place = make_place(work, group);
    const bool whole = place.row + PRODUCT_BM <= problem.m && place.column + PRODUCT_BN <= product_n(problem);
#if PRODUCT_SPLIT == 1
    const int first_column = PRODUCT_SPARSE && !PRODUCT_PINGPONG ? warpgroup * kGroupN : 0;
    auto row = [&](int group) { return place.row + first_row_of(warpgroup) + group_row(group); };
    auto column = [&](int group) { return place.column + first_column + group_column(group); };
    Start start;
    product_ask<kGroups, kWidth>(start, problem, operands, place.entry, row, column);
#endif
    Accumulator sum;
#if PRODUCT_SPARSE
    multiply_tile(sum, ring, at, work, warpgroup, places_of(places, problem, place, warpgroup));
#else
    multiply_tile(sum, ring, at, work, warpgroup);
#endif
    if (PRODUCT_PINGPONG) at.advance(steps);  // the other's tile
#if PRODUCT_SPLIT > 1
    finish_split(sum, ring, work, place, first_row_of(warpgroup), whole, y, problem, operands);
#else
#if PRODUCT_NEAR
    const unsigned slot = turn & 1u;
    barrier_wait(ring.near_full + slot * 8, turn >> 1 & 1u);
    const Near near = {near_tiles + slot * kNearTileBytes, static_cast<long long>(place.entry) * problem.m + place.row,
                       place.column};
#else
    constexpr NothingNear near = {};
#endif
    product_finish<kGroups, kWidth, PRODUCT_SPARSE>(
        y, problem, operands, place.entry, whole, start,
        [&](int group, ProductSum(&value)[kSumSets * kWidth]) { take_group(sum, group, value); }, row, column, near);
#if PRODUCT_NEAR
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(ring.near_empty + slot * 8);
    turn += kTurns;
#endif
#endif
  }
}

#if PRODUCT_SHARERS * PRODUCT_SPLIT > 1 && !defined(HUSSAR_EMULATED)
#define PRODUCT_CLUSTER __cluster_dims__(PRODUCT_SHARERS * PRODUCT_SPLIT, 1, 1)
#else
#define PRODUCT_CLUSTER
#endif

extern "C" __global__ void __launch_bounds__(kThreads, PRODUCT_BLOCKS_PER_SM) PRODUCT_CLUSTER
        PRODUCT_KERNEL(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,
                       ProductOutput* y, const __grid_constant__ ProductProblem problem,
                       const __grid_constant__ EpilogueOperands operands
#if PRODUCT_NEAR
                       ,
                       const __grid_constant__ TensorMap near_map
#endif
#if PRODUCT_SPARSE
                       ,
                       const unsigned char* places
#endif
#if PRODUCT_SECOND
                       ,
                       const __grid_constant__ TensorMap second_x_map, const __grid_constant__ TensorMap second_w_map
#endif
#if PRODUCT_WINDOWS || PRODUCT_SECOND_WINDOWS
                       ,
                       const __grid_constant__ WindowSteps windows
#endif
                       ,
                       const int* rows) {
#if !PRODUCT_WINDOWS && !PRODUCT_SECOND_WINDOWS
  constexpr WindowSteps windows{};
#endif
#if !PRODUCT_SPARSE
  constexpr const unsigned char* places = nullptr;
#endif
  extern __shared__ unsigned char shared[];
  Ring ring;
  const unsigned begin = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  ring.stages = (begin + 1023u) & ~1023u;
  ring.near_tiles = ring.stages + kRingBytes;
  ring.full = ring.near_tiles + 2 * kNearTileBytes;
  ring.empty = ring.full + 8 * PRODUCT_STAGES;
  ring.near_full = ring.empty + 8 * PRODUCT_STAGES;
  ring.near_empty = ring.near_full + 16;
  if (threadIdx.x == 0) {
    tensor_prefetch(x_map);
    tensor_prefetch(w_map);
#if PRODUCT_SECOND
    tensor_prefetch(second_x_map);
    tensor_prefetch(second_w_map);
#endif
    for (int s = 0; s < PRODUCT_STAGES; ++s) {
      barrier_init(ring.full + 8 * s, 1);
      barrier_init(ring.empty + 8 * s, kSignals * kReadersWarps);
    }
#if PRODUCT_NEAR
    tensor_prefetch(near_map);
    for (int slot = 0; slot < 2; ++slot) {
      barrier_init(ring.near_full + 8 * slot, 1);
      barrier_init(ring.near_empty + 8 * slot, kReadersWarps);
    }
#endif
    barrier_init_done();
  }
  product_allow_next_kernel();
  int m = problem.m;
  // Which tile comes first depends on it. It has been there since before the kernel in front began (token_order.cuh),
  // and is read past this multiprocessor's cache, so that weights are on their way while that one still runs.
  if (rows != nullptr) m = min(m, max(*static_cast<const volatile int*>(rows), 0));
  const Work work = make_work(problem, m);
  if constexpr (PRODUCT_SHARERS * PRODUCT_SPLIT > 1) {
    __syncwarp();
    cluster_meet_only();
  } else {
    __syncthreads();
  }

  // All of the cluster leave, before any of them waits for another.
  if (PRODUCT_SPLIT > 1 && work.first >= work.groups) {
    product_wait_for_earlier_kernels();  // who waits for this kernel waits for those, too
    return;
  }
  if (threadIdx.x < kMultiplyingThreads) {
    registers_take<kMultiplyingRegisters>();
    consume(ring, work, own_warpgroup(), y, problem, operands, places,
            shared + (ring.near_tiles - begin));
  } else {
    registers_give<kCopyingRegisters>();
    const Maps maps = {x_map,
                       w_map
#if PRODUCT_NEAR
                       ,
                       near_map
#endif
#if PRODUCT_SECOND
                       ,
                       second_x_map,
                       second_w_map
#endif
    };
    if (own_warp() == kMultiplyingThreads / 32 && is_elected()) produce(ring, maps, work, windows);
    __syncwarp();
#if PRODUCT_SPLIT > 1
    cluster_meet_only();  // as in finish_split
    cluster_meet();
#endif
  }
  if constexpr (PRODUCT_SHARERS > 1) cluster_meet_only();  // no block leaves while others may signal it
}
