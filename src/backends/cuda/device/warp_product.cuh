// What a warp does with operands in shared memory, from Ampere on: copies of 16 bytes that nobody waits for (cp.async),
// matrices from there (ldmatrix) and their products (mma.sync). PRODUCT_INPUT of product_contract.cuh says what
// operands are; FP32 has copies only.
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

#if PRODUCT_INPUT != PRODUCT_FP32

// What tests/support/emulated_warp.h multiplies.
#if PRODUCT_INPUT == PRODUCT_FP8
#define HUSSAR_ELEMENT HussarFloat8
#else
#define HUSSAR_ELEMENT ProductInput
#endif

__device__ __forceinline__ void load_matrices(unsigned (&to)[4], unsigned from) {
#ifdef HUSSAR_EMULATED
  hussar_load_matrices(to, from);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from)
               : "memory");
#if PRODUCT_INPUT == PRODUCT_TF32
#pragma unroll
  for (int i = 0; i < 4; ++i) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(to[i]) : "f"(__uint_as_float(to[i])));
#endif
#endif
}

// Adds the product of 16 x 32 and 32 x 8 bytes of operands.
__device__ __forceinline__ void multiply(ProductSum (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#ifdef HUSSAR_EMULATED
  hussar_multiply<HUSSAR_ELEMENT>(sum, a, b0, b1);
#else
#if PRODUCT_INPUT == PRODUCT_FP16
#define HUSSAR_MMA "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
#elif PRODUCT_INPUT == PRODUCT_BF16
#define HUSSAR_MMA "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
#elif PRODUCT_INPUT == PRODUCT_INT8
#define HUSSAR_MMA "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32"
#elif PRODUCT_INPUT == PRODUCT_FP8
#define HUSSAR_MMA "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32"
#else
#define HUSSAR_MMA "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"
#endif
  asm volatile(HUSSAR_MMA " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : PRODUCT_SUM_OPERAND(sum[0]), PRODUCT_SUM_OPERAND(sum[1]), PRODUCT_SUM_OPERAND(sum[2]),
                 PRODUCT_SUM_OPERAND(sum[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#undef HUSSAR_MMA
#endif
}

#endif
