// From memory to shared memory without waiting (cp.async), and from there to the registers of a warp (ldmatrix), from
// Ampere on. The emulated device knows both.
#pragma once

__device__ __forceinline__ void copy_chunk(unsigned to, const void* from, bool inside) {
#ifdef HUSSAR_EMULATED
  hussar_copy_chunk(to, from, inside);
#else
  const int bytes = inside ? 16 : 0;  // the rest is filled with zeros
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
#endif
}
__device__ __forceinline__ void end_copies() {
#ifndef HUSSAR_EMULATED
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until at most kGroups of the groups that have ended are unfinished.
template <int kGroups>
__device__ __forceinline__ void wait_for_copies() {
#ifndef HUSSAR_EMULATED
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
#endif
}

// Four matrices of 8 rows of 16 bytes; a lane gets 4 bytes of each.
__device__ __forceinline__ void load_fragments(unsigned (&to)[4], unsigned from) {
#ifdef HUSSAR_EMULATED
  hussar_load_matrices(to, from);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from)
               : "memory");
#endif
}
