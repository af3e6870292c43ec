// Hopper's (sm_90a) copy engine, barriers and clusters: thin names over the PTX instructions. Where the text is read for
// CPUs, tests/support/emulated_hopper.h has them.
#pragma once
#ifndef HUSSAR_EMULATED

// A CUtensorMap, made by cuTensorMapEncodeTiled on the host and passed by value as a __grid_constant__ parameter.
struct alignas(64) TensorMap {
  unsigned char bytes[128];
};

__device__ __forceinline__ void barrier_init(unsigned barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Makes the barriers' initial state known to the copy engine and to the other blocks of the cluster.
__device__ __forceinline__ void barrier_init_done() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Arrives and announces bytes that the copy engine will bring.
__device__ __forceinline__ void barrier_expect(unsigned barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

__device__ __forceinline__ void barrier_arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives at the barrier of the same address in block `rank` of the cluster. Says that reads are over: it publishes no
// writes.
__device__ __forceinline__ void barrier_arrive_at(unsigned barrier, unsigned rank) {
  asm volatile(
      "{ .reg .b32 remote; mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote]; }" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

// Returns when the phase of this parity has completed.
__device__ __forceinline__ void barrier_wait(unsigned barrier, unsigned parity) {
  asm volatile(
      "{ .reg .pred done;\n"
      "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again; }" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

__device__ __forceinline__ void tensor_prefetch(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// One box of a three-dimensional tensor into shared memory; the barrier counts its bytes. kBlocks > 1: into every block
// of the cluster that mask names, at the same address, counted by each block's own barrier.
template <int kBlocks>
__device__ __forceinline__ void tensor_copy(unsigned to, const TensorMap& map, unsigned barrier, int c0, int c1, int c2,
                                            unsigned short mask) {
  if constexpr (kBlocks > 1) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, "
        "{%3, %4, %5}], "
        "[%2], %6;" ::"r"(to),
        "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "h"(mask)
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::
            "r"(to),
        "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2)
        : "memory");
  }
}

// The same for a five-dimensional tensor.
template <int kBlocks>
__device__ __forceinline__ void tensor_copy(unsigned to, const TensorMap& map, unsigned barrier, int c0, int c1, int c2,
                                            int c3, int c4, unsigned short mask) {
  if constexpr (kBlocks > 1) {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, "
        "{%3, %4, %5, "
        "%6, %7}], [%2], %8;" ::"r"(to),
        "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4), "h"(mask)
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], "
        "[%2];" ::"r"(to),
        "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
        : "memory");
  }
}

// A column of windows of a four-dimensional tensor by an im2col map: c0 to c3 are the first channel, and the column, row
// and picture of the first window; the offsets are those of a tap.
template <int kBlocks>
__device__ __forceinline__ void window_copy(unsigned to, const TensorMap& map, unsigned barrier, int c0, int c1, int c2,
                                            int c3, unsigned short column_offset, unsigned short row_offset,
                                            unsigned short mask) {
  if constexpr (kBlocks > 1) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
        "[%1, {%3, %4, %5, %6}], [%2], {%7, %8}, %9;" ::"r"(to),
        "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "h"(column_offset), "h"(row_offset), "h"(mask)
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, "
        "%6}], [%2], {%7, %8};" ::"r"(to),
        "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "h"(column_offset), "h"(row_offset)
        : "memory");
  }
}

// True for one thread of the warp, all of which ask. What it alone does then takes uniform registers, without a loop
// over the threads that might be there.
__device__ __forceinline__ bool is_elected() {
  unsigned elected;
  asm volatile(
      "{ .reg .pred one; elect.sync _|one, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, one; }"
      : "=r"(elected));
  return elected != 0;
}

__device__ __forceinline__ unsigned cluster_rank() {
  unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// All threads of the cluster meet; what they wrote before, in shared memory of any block too, is visible after.
__device__ __forceinline__ void cluster_meet() {
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}

// All threads of the cluster meet; publishes no writes.
__device__ __forceinline__ void cluster_meet_only() {
  asm volatile(
      "barrier.cluster.arrive.relaxed.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}

// Writes four words into the shared memory of block `rank` of the cluster, at the address that `to` has here.
__device__ __forceinline__ void cluster_store(unsigned to, unsigned rank, unsigned a, unsigned b, unsigned c,
                                              unsigned d) {
  asm volatile(
      "{ .reg .b32 remote; mapa.shared::cluster.u32 remote, %0, %1;\n"
      "st.shared::cluster.v4.b32 [remote], {%2, %3, %4, %5}; }" ::"r"(to),
      "r"(rank), "r"(a), "r"(b), "r"(c), "r"(d)
      : "memory");
}

// Moves registers between warpgroups: every thread of the calling warpgroup has kCount from here on.
template <int kCount>
__device__ __forceinline__ void registers_take() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void registers_give() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

// Four words of shared memory, 16-byte aligned.
__device__ __forceinline__ void shared_load(unsigned from, unsigned& a, unsigned& b, unsigned& c, unsigned& d) {
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
               : "r"(from)
               : "memory");
}

// kCount threads of the block meet at a barrier of its own; those that arrive do not wait for the others.
template <int kBarrier, int kCount>
__device__ __forceinline__ void threads_meet() {
  asm volatile("bar.sync %0, %1;" ::"n"(kBarrier), "n"(kCount) : "memory");
}
template <int kBarrier, int kCount>
__device__ __forceinline__ void threads_arrive() {
  asm volatile("bar.arrive %0, %1;" ::"n"(kBarrier), "n"(kCount) : "memory");
}

#endif
