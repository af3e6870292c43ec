// The main loop of products on Hopper: what product_hopper.cuh describes, from copies to the sums of a tile in the
// registers of the warpgroups that multiply. Behind hopper_work.cuh.
#pragma once

#if PRODUCT_NEAR

// The tile at `place` of the operand that is brought near; it is the turn-th of this block.
__device__ __forceinline__ void bring_near(const Ring& ring, const TensorMap& map, const Place& place, int turn) {
  const unsigned slot = static_cast<unsigned>(turn) & 1u, parity = static_cast<unsigned>(turn) >> 1 & 1u;
  const unsigned full = ring.near_full + slot * 8;
  barrier_wait(ring.near_empty + slot * 8, parity ^ 1);
  barrier_expect(full, kNearTileBytes);
#pragma unroll
  for (int box = 0; box < PRODUCT_BN * PRODUCT_NEAR / kNearRowBytes; ++box)
    tensor_copy<1>(ring.near_tiles + slot * kNearTileBytes + box * (PRODUCT_BM * kNearRowBytes), map, full,
                   place.column + box * (kNearRowBytes / PRODUCT_NEAR), place.row, place.entry, 0);
}

// A tile that was brought, for load_inputs.
struct Near {
  const unsigned char* tile;
  long long first_row;
  int first_column;
  template <class T, int N>
  __device__ __forceinline__ void load(const T*, long long row, int column, float (&to)[N]) const {
    // Tiles outside of the matrix are brought, too, and asked for its edge.
    const unsigned r = static_cast<unsigned>(max(static_cast<int>(row - first_row), 0));
    const unsigned byte = static_cast<unsigned>(max(column - first_column, 0)) * PRODUCT_NEAR;
    const unsigned box = byte / kNearRowBytes * (PRODUCT_BM * kNearRowBytes);
    ::load(reinterpret_cast<const T*>(tile + box + r * kNearRowBytes + ((byte % kNearRowBytes) ^ ((r & 7) << 4))), to);
  }
};

#endif

// One thread keeps the ring full. Before the kernels in front have ended it may load weights only.
__device__ __forceinline__ void produce(const Ring& ring, const Maps& maps, const Work& work,
                                        const WindowSteps& windows) {
  int early = 0;
#if PRODUCT_DEPENDENT_LAUNCH
  if (work.first < work.groups) {
    const Place place = make_place(work, work.first);
    early = min(PRODUCT_STAGES, work.step_last - work.step_first);
    for (int s = 0; s < early; ++s) {
      barrier_expect(ring.full + s * 8, kStageBytes);
      copy_w(ring, s, maps, work, place, work.step_first + s);
    }
    product_wait_for_earlier_kernels();
    const SourceX source = source_of(work, place, windows);
    for (int s = 0; s < early; ++s) copy_x(ring, s, maps, work, source, windows, work.step_first + s);
  }
#endif
  Position at = {0, 0};
  at.advance(early);
#if PRODUCT_NEAR
  int turn = 0;
#endif
  for (int group = work.first; group < work.groups; group += work.stride) {
    const Place place = make_place(work, group);
    const SourceX source = source_of(work, place, windows);
#if PRODUCT_NEAR
    bring_near(ring, maps.near, place, turn++);
#endif
    for (int step = work.step_first + early; step < work.step_last; ++step) {
      barrier_wait(ring.empty + at.stage * 8, at.parity ^ 1);
      barrier_expect(ring.full + at.stage * 8, kStageBytes);
      copy_x(ring, at.stage, maps, work, source, windows, step);
      copy_w(ring, at.stage, maps, work, place, step);
      at.next();
    }
    early = 0;
  }
}

// The warp has read the stage: told to every block that loads into it.
__device__ __forceinline__ void release_stage(const Ring& ring, int stage, const Work& work) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  if constexpr (PRODUCT_SHARERS == 1) {
    if (lane == 0) barrier_arrive(ring.empty + stage * 8);
  } else if (lane < kSignals) {
    const int other = lane - PRODUCT_CLUSTER_M;
    const int rank = lane < PRODUCT_CLUSTER_M ? work.rank_n * PRODUCT_CLUSTER_M + lane
                                              : (other + (other >= work.rank_n)) * PRODUCT_CLUSTER_M + work.rank_m;
    barrier_arrive_at(ring.empty + stage * 8, static_cast<unsigned>(rank));
  }
}

// A warpgroup's part of the tile that it works on: rows, or columns where weights are the left operand.
__device__ __forceinline__ int first_row_of(int warpgroup) {
  return PRODUCT_PINGPONG || PRODUCT_SPARSE ? 0 : warpgroup * kGroupM;
}

// Two warpgroups that take turns: one multiplies only after the other has issued its last product. Without it the one
// ahead could take a stage's earlier completion, of the same parity, for its own.
__device__ __forceinline__ void wait_for_turn(int warpgroup) {
  if (warpgroup == 0)
    threads_meet<1, kMultiplyingThreads>();
  else
    threads_meet<2, kMultiplyingThreads>();
}
__device__ __forceinline__ void give_turn(int warpgroup) {
  if (warpgroup == 0)
    threads_arrive<1, kMultiplyingThreads>();
  else
    threads_arrive<2, kMultiplyingThreads>();
}

// Behind the last product of a tile.
__device__ __forceinline__ void end_tile(Accumulator& sum, const Ring& ring, const Work& work, int warpgroup,
                                         int previous) {
  if (PRODUCT_PINGPONG) give_turn(1 - warpgroup);
  hopper_wait_multiply<0>();
#pragma unroll
  for (int set = 0; set < kSumSets; ++set)
#pragma unroll
    for (int i = 0; i < kBlocks; ++i)
#pragma unroll
      for (int j = 0; j < HOPPER_N / 2; ++j) hopper_settle(sum[set][i][j]);
  if (work.step_last > work.step_first) release_stage(ring, previous, work);
}

#if PRODUCT_SPARSE

// The words of a thread for two blocks of k: four of bytes, two of halves.
struct alignas(kBlockK / 8) Words {
  unsigned of[kBlockK / 32];
};

// Where the elements of W are, for a tile's columns of this warpgroup: the words of this thread.
struct Places {
  const Words* from;  // of the first block of 64 columns
  int count;          // of one block
  __device__ __forceinline__ void load(Words (&words)[kBlocks], int index) const {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) words[i] = from[(i * count + min(index, count - 1)) * 128];
  }
};
__device__ __forceinline__ Places places_of(const unsigned char* places, const ProductProblem& problem,
                                            const Place& place, int warpgroup) {
  const int first = place.column + (PRODUCT_PINGPONG ? 0 : warpgroup * kGroupN);
  const int count = (product_k(problem) + 2 * kBlockK - 1) / (2 * kBlockK);
  // Behind the last group of columns lies nothing.
  const int group = min(first / kGroupN, (product_n(problem) + kGroupN - 1) / kGroupN - 1);
  const auto* from = reinterpret_cast<const Words*>(places);
  return {from + static_cast<long long>(group) * kBlocks * count * 128 + (threadIdx.x & 127), count};
}

// The sums of this warpgroup's columns of one tile. As below, but two sets of words take turns: what products in flight
// read is not overwritten.
__device__ __forceinline__ void multiply_tile(Accumulator& sum, const Ring& ring, Position& at, const Work& work,
                                              int warpgroup, const Places& places) {
  int previous = 0;
  Words words[2][kBlocks];
  places.load(words[0], 0);
  if (PRODUCT_PINGPONG) wait_for_turn(warpgroup);
  for (int base = 0; base < work.step_last; base += 4) {
#pragma unroll
    for (int quarter = 0; quarter < 4; ++quarter) {
      const int step = base + quarter;
      if (step >= work.step_last) break;
      const Words(&set)[kBlocks] = words[quarter / 2];
      barrier_wait(ring.full + at.stage * 8, at.parity);
      const unsigned stage = ring.stages + at.stage * kStageBytes;
      const unsigned long long a =
          hopper_describe_narrow(stage + kTileBytesX + (PRODUCT_PINGPONG ? 0 : warpgroup) * kGroupN * kRowBytesW);
      const unsigned long long b = hopper_describe(stage);
      hopper_begin_multiply();
      constexpr int kWords = kBlockK / 64;  // of a block of k
#pragma unroll
      for (int i = 0; i < kBlocks; ++i)
        hopper_multiply_sparse<0>(sum[0][i], a + i * (64 * kRowBytesW / 16), b, set[i].of[quarter % 2 * kWords], step > 0);
#pragma unroll
      for (int i = 0; i < kBlocks; ++i)
        hopper_multiply_sparse<1>(sum[0][i], a + 2 + i * (64 * kRowBytesW / 16), b + 4,
                                  set[i].of[quarter % 2 * kWords + kWords - 1], 1);
      hopper_end_multiply();
      if (step > 0) {
        hopper_wait_multiply<1>();
        release_stage(ring, previous, work);
      }
      if (quarter % 2 == 0) places.load(words[1 - quarter / 2], step / 2 + 1);
      previous = at.stage;
      at.next();
    }
  }
  end_tile(sum, ring, work, warpgroup, previous);
}

#else

__device__ __forceinline__ unsigned long long describe_rows(unsigned address) {
  return kRowBytes == 64 ? hopper_describe_narrow(address) : hopper_describe(address);
}

// The products of blocks first to last of k, where those before block `begin` of the tile are done. The release of a
// stage lags one step behind, so that the tensor cores always have the next product in their queue.
__device__ __forceinline__ void multiply_steps(SumSet& sum, const Ring& ring, Position& at, const Work& work,
                                               int first_row, int first, int last, int& previous) {
  for (int step = first; step < last; ++step) {
    barrier_wait(ring.full + at.stage * 8, at.parity);
    const unsigned stage = ring.stages + at.stage * kStageBytes;
    const unsigned long long a = describe_rows(stage + first_row * kRowBytes);
    const unsigned long long b = describe_rows(stage + kTileBytesX);
    hopper_begin_multiply();
#pragma unroll
    for (int part = 0; part < kRowBytes / 32; ++part) {
#pragma unroll
      for (int i = 0; i < kBlocks; ++i)
        hopper_multiply(sum[i], a + part * 2 + i * (64 * kRowBytes / 16), b + part * 2, step > first || part > 0);
    }
    hopper_end_multiply();
    if (step > work.step_first) {
      hopper_wait_multiply<1>();
      release_stage(ring, previous, work);
    }
    previous = at.stage;
    at.next();
  }
}

// The sums of this warpgroup's rows of one tile.
__device__ __forceinline__ void multiply_tile(Accumulator& sum, const Ring& ring, Position& at, const Work& work,
                                              int warpgroup) {
  const int first_row = first_row_of(warpgroup);
  int previous = 0;
  if (PRODUCT_PINGPONG) wait_for_turn(warpgroup);
#if PRODUCT_SECOND == 2
  multiply_steps(sum[0], ring, at, work, first_row, 0, kFirstSteps, previous);
  multiply_steps(sum[1], ring, at, work, first_row, kFirstSteps, work.step_last, previous);
#else
  multiply_steps(sum[0], ring, at, work, first_row, work.step_first, work.step_last, previous);
#endif
  end_tile(sum, ring, work, warpgroup, previous);
}

#endif

#if PRODUCT_SPARSE

// The groups of neighbouring columns that a thread holds, one for each of its rows, and their place in the warpgroup's
// part of the tile.
constexpr int kGroups = PRODUCT_BM / 4;
constexpr int kWidth = 2 * kBlocks;
__device__ __forceinline__ void take_group(const Accumulator& sum, int group, ProductSum (&value)[kWidth]) {
#pragma unroll
  for (int c = 0; c < kWidth; ++c) value[c] = sum[0][c / 2][group / 2 * 4 + c % 2 * 2 + group % 2];
}
__device__ __forceinline__ int group_row(int group) {
  return group / 2 * 8 + (static_cast<int>(threadIdx.x) & 3) * 2 + group % 2;
}
__device__ __forceinline__ int group_column(int) { return (static_cast<int>(threadIdx.x) & 127) / 4 * kWidth; }

#else

// The groups of eight neighbouring columns that a thread holds, and their place in the warpgroup's part of the tile.
constexpr int kGroups = kBlocks * PRODUCT_BN / 16;
constexpr int kWidth = 8;
__device__ __forceinline__ void take_group(const Accumulator& sum, int group,
                                           ProductSum (&value)[8 * kSumSets]) {
  const int i = group % (kBlocks * 2), j = group / (kBlocks * 2);
#pragma unroll
  for (int c = 0; c < 8 * kSumSets; ++c)
    value[c] = sum[c / 8][i / 2][j * 16 + (c % 8 / 2) * 4 + (i % 2) * 2 + c % 2];
}
__device__ __forceinline__ int group_row(int group) {
  const int i = group % (kBlocks * 2), thread = static_cast<int>(threadIdx.x) & 127;
  return 64 * (i / 2) + 16 * (thread / 32) + 8 * (i % 2) + thread % 32 / 4;
}
__device__ __forceinline__ int group_column(int group) {
  return 32 * (group / (kBlocks * 2)) + 8 * (static_cast<int>(threadIdx.x) & 3);
}

#endif
