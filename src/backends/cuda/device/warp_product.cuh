// What a warp does with operands in shared memory, from Ampere on, behind shared_copies.cuh: matrices from there and their
// products (mma.sync). PRODUCT_INPUT of product_contract.cuh says what operands are; FP32 has none of it.
#pragma once

#if PRODUCT_INPUT != PRODUCT_FP32

// What tests/support/emulated_warp.h multiplies.
#if PRODUCT_INPUT == PRODUCT_FP8
#define HUSSAR_ELEMENT HussarFloat8
#elif PRODUCT_INPUT == PRODUCT_INT8 && PRODUCT_X_SIGNED
#define HUSSAR_ELEMENT signed char
#else
#define HUSSAR_ELEMENT ProductInput
#endif

__device__ __forceinline__ void load_matrices(unsigned (&to)[4], unsigned from) {
  load_fragments(to, from);
#if PRODUCT_INPUT == PRODUCT_TF32 && !defined(HUSSAR_EMULATED)
#pragma unroll
  for (int i = 0; i < 4; ++i) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(to[i]) : "f"(__uint_as_float(to[i])));
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
#elif PRODUCT_INPUT == PRODUCT_INT8 && PRODUCT_X_SIGNED
#define HUSSAR_MMA "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32"
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
