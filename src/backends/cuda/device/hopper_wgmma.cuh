// wgmma m64nNk16 (FP16, BF16), m64nNk8 (TF32) and m64nNk32 (bytes, FP8) with N = HOPPER_N, and the sparse ones of twice
// the k, both operands in shared memory, sums in registers. Those of FP8 keep some 14 bits of what is added
// (docs/decisions.md). The operand lists have to be spelled out: inline assembly takes no arrays.
//
// A tile lies as TMA writes it with the 128-byte swizzle: rows of 128 bytes, the 16-byte chunks of each XORed with the
// row number modulo 8, in groups of eight rows (1,024 bytes, aligned so).
#pragma once

// Weights are the right operand, or the left one where they are sparse.
#if PRODUCT_SPARSE
#define HOPPER_N PRODUCT_BM
#else
#define HOPPER_N PRODUCT_BN
#endif

#define HOPPER_EIGHT(i)                                                                                  \
  PRODUCT_SUM_OPERAND(sum[i]), PRODUCT_SUM_OPERAND(sum[i + 1]), PRODUCT_SUM_OPERAND(sum[i + 2]),         \
      PRODUCT_SUM_OPERAND(sum[i + 3]), PRODUCT_SUM_OPERAND(sum[i + 4]), PRODUCT_SUM_OPERAND(sum[i + 5]), \
      PRODUCT_SUM_OPERAND(sum[i + 6]), PRODUCT_SUM_OPERAND(sum[i + 7])

#if HOPPER_N == 64
#define HOPPER_SUM_REGISTERS                                                                             \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
  "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define HOPPER_SUM_OPERANDS HOPPER_EIGHT(0), HOPPER_EIGHT(8), HOPPER_EIGHT(16), HOPPER_EIGHT(24)
#define HOPPER_A "%32"
#define HOPPER_B "%33"
#define HOPPER_KEEP "%34"
#define HOPPER_WHERE "%35"
#define HOPPER_SELECTOR "%36"
#define HOPPER_SHAPE "n64"
#elif HOPPER_N == 96
#define HOPPER_SUM_REGISTERS                                                                             \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
  "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, " \
  "%42, %43, %44, %45, %46, %47"
#define HOPPER_SUM_OPERANDS \
  HOPPER_EIGHT(0), HOPPER_EIGHT(8), HOPPER_EIGHT(16), HOPPER_EIGHT(24), HOPPER_EIGHT(32), HOPPER_EIGHT(40)
#define HOPPER_A "%48"
#define HOPPER_B "%49"
#define HOPPER_KEEP "%50"
#define HOPPER_WHERE "%51"
#define HOPPER_SELECTOR "%52"
#define HOPPER_SHAPE "n96"
#elif HOPPER_N == 128
#define HOPPER_SUM_REGISTERS                                                                             \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
  "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, " \
  "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
  "%62, %63"
#define HOPPER_SUM_OPERANDS                                                                                 \
  HOPPER_EIGHT(0), HOPPER_EIGHT(8), HOPPER_EIGHT(16), HOPPER_EIGHT(24), HOPPER_EIGHT(32), HOPPER_EIGHT(40), \
      HOPPER_EIGHT(48), HOPPER_EIGHT(56)
#define HOPPER_A "%64"
#define HOPPER_B "%65"
#define HOPPER_KEEP "%66"
#define HOPPER_WHERE "%67"
#define HOPPER_SELECTOR "%68"
#define HOPPER_SHAPE "n128"
#elif HOPPER_N == 192
#define HOPPER_SUM_REGISTERS                                                                             \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
  "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, " \
  "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
  "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, " \
  "%82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define HOPPER_SUM_OPERANDS                                                                                 \
  HOPPER_EIGHT(0), HOPPER_EIGHT(8), HOPPER_EIGHT(16), HOPPER_EIGHT(24), HOPPER_EIGHT(32), HOPPER_EIGHT(40), \
      HOPPER_EIGHT(48), HOPPER_EIGHT(56), HOPPER_EIGHT(64), HOPPER_EIGHT(72), HOPPER_EIGHT(80), HOPPER_EIGHT(88)
#define HOPPER_A "%96"
#define HOPPER_B "%97"
#define HOPPER_KEEP "%98"
#define HOPPER_WHERE "%99"
#define HOPPER_SELECTOR "%100"
#define HOPPER_SHAPE "n192"
#elif HOPPER_N == 256
#define HOPPER_SUM_REGISTERS                                                                             \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
  "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, " \
  "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
  "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, " \
  "%82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, "     \
  "%101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, "     \
  "%117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define HOPPER_SUM_OPERANDS                                                                                       \
  HOPPER_EIGHT(0), HOPPER_EIGHT(8), HOPPER_EIGHT(16), HOPPER_EIGHT(24), HOPPER_EIGHT(32), HOPPER_EIGHT(40),       \
      HOPPER_EIGHT(48), HOPPER_EIGHT(56), HOPPER_EIGHT(64), HOPPER_EIGHT(72), HOPPER_EIGHT(80), HOPPER_EIGHT(88), \
      HOPPER_EIGHT(96), HOPPER_EIGHT(104), HOPPER_EIGHT(112), HOPPER_EIGHT(120)
#define HOPPER_A "%128"
#define HOPPER_B "%129"
#define HOPPER_KEEP "%130"
#define HOPPER_WHERE "%131"
#define HOPPER_SELECTOR "%132"
#define HOPPER_SHAPE "n256"
#endif

#if PRODUCT_INPUT == PRODUCT_FP16
#define HOPPER_OPERATION "wgmma.mma_async.sync.aligned.m64" HOPPER_SHAPE "k16.f32.f16.f16 "
#define HOPPER_SIGNS ", 1, 1, 0, 0"
#elif PRODUCT_INPUT == PRODUCT_BF16
#define HOPPER_OPERATION "wgmma.mma_async.sync.aligned.m64" HOPPER_SHAPE "k16.f32.bf16.bf16 "
#define HOPPER_SIGNS ", 1, 1, 0, 0"
#elif PRODUCT_INPUT == PRODUCT_INT8
#if PRODUCT_X_SIGNED
#define HOPPER_BYTES "s8"
#else
#define HOPPER_BYTES "u8"
#endif
#define HOPPER_OPERATION "wgmma.mma_async.sync.aligned.m64" HOPPER_SHAPE "k32.s32." HOPPER_BYTES ".s8 "
#define HOPPER_SIGNS ""
#elif PRODUCT_INPUT == PRODUCT_FP8
#define HOPPER_OPERATION "wgmma.mma_async.sync.aligned.m64" HOPPER_SHAPE "k32.f32.e4m3.e4m3 "
#define HOPPER_SIGNS ", 1, 1"
#else
#define HOPPER_OPERATION "wgmma.mma_async.sync.aligned.m64" HOPPER_SHAPE "k8.f32.tf32.tf32 "
#define HOPPER_SIGNS ", 1, 1"
#endif

// Sparse products, of twice the k and with W on the left; and what tests/support/emulated_hopper.h calls the elements.
#if PRODUCT_INPUT == PRODUCT_FP16
#define HOPPER_SPARSE_OPERATION "wgmma.mma_async.sp.sync.aligned.m64" HOPPER_SHAPE "k32.f32.f16.f16 "
#define HOPPER_X HussarF16
#define HOPPER_W HussarF16
#elif PRODUCT_INPUT == PRODUCT_BF16
#define HOPPER_SPARSE_OPERATION "wgmma.mma_async.sp.sync.aligned.m64" HOPPER_SHAPE "k32.f32.bf16.bf16 "
#define HOPPER_X HussarBf16
#define HOPPER_W HussarBf16
#elif PRODUCT_INPUT == PRODUCT_INT8
#define HOPPER_SPARSE_OPERATION "wgmma.mma_async.sp.sync.aligned.m64" HOPPER_SHAPE "k64.s32.s8." HOPPER_BYTES " "
#if PRODUCT_X_SIGNED
#define HOPPER_X HussarS8
#else
#define HOPPER_X HussarU8
#endif
#define HOPPER_W HussarS8
#elif PRODUCT_INPUT == PRODUCT_FP8
#define HOPPER_SPARSE_OPERATION "wgmma.mma_async.sp.sync.aligned.m64" HOPPER_SHAPE "k64.f32.e4m3.e4m3 "
#define HOPPER_X HussarE4m3
#define HOPPER_W HussarE4m3
#elif PRODUCT_INPUT == PRODUCT_TF32
#define HOPPER_X HussarTf32
#define HOPPER_W HussarTf32
#endif

// Describes the tile at a shared-memory address: groups of eight rows 1,024 bytes apart, 128-byte swizzle. The address
// may be moved along a row by adding (bytes / 16).
__device__ __forceinline__ unsigned long long hopper_describe(unsigned address) {
  return ((address & 0x3ffffu) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}

// sum = (keep ? sum : 0) + a * b over 32 bytes of k.
__device__ __forceinline__ void hopper_multiply(ProductSum (&sum)[HOPPER_N / 2], unsigned long long a,
                                                unsigned long long b, int keep) {
#ifdef HUSSAR_EMULATED
  hussar_wgmma<HOPPER_X, HOPPER_W>(sum, a, b, keep);
#else
  asm volatile("{ .reg .pred keep; setp.ne.b32 keep, " HOPPER_KEEP ", 0;\n" HOPPER_OPERATION "{" HOPPER_SUM_REGISTERS
               "}, " HOPPER_A ", " HOPPER_B ", keep" HOPPER_SIGNS ";\n}"
               : HOPPER_SUM_OPERANDS
               : "l"(a), "l"(b), "r"(keep));
#endif
}

// Describes a tile whose rows are 64 bytes, four chunks that lie XORed with bits 1 and 2 of the row number; groups of
// eight rows are 512 bytes apart.
__device__ __forceinline__ unsigned long long hopper_describe_narrow(unsigned address) {
  return ((address & 0x3ffffu) >> 4) | (1ull << 16) | (32ull << 32) | (2ull << 62);
}

#if PRODUCT_SPARSE

// sum = (keep ? sum : 0) + a * b over 64 bytes of k of b, of which a has 32: two elements of each four. `where` says
// which: four bits for each four of k, the places of the two, the first in the lower bits. Of bytes, the thread has the
// word for row 16 * warp + 8 * (lane % 2) + lane / 4 of a, k from 32 * (lane / 2 % 2) on. Of halves, two threads of
// each four have words, which two kPart says: k from 16 * (lane % 2) on, for row 16 * warp + lane / 4 in the lower half
// and the one eight behind it in the upper (PTX ISA, "Matrix fragments for warpgroup-level multiply-accumulate
// operation with sparse matrix A").
template <int kPart>
__device__ __forceinline__ void hopper_multiply_sparse(ProductSum (&sum)[HOPPER_N / 2], unsigned long long a,
                                                       unsigned long long b, unsigned where, int keep) {
  constexpr int kSelector = sizeof(ProductInput) == 1 ? 0 : kPart;
#ifdef HUSSAR_EMULATED
  hussar_wgmma_sparse<HOPPER_W, HOPPER_X>(sum, a, b, where, kSelector, keep);
#else
  asm volatile("{ .reg .pred keep; setp.ne.b32 keep, " HOPPER_KEEP ", 0;\n" HOPPER_SPARSE_OPERATION
               "{" HOPPER_SUM_REGISTERS "}, " HOPPER_A ", " HOPPER_B ", " HOPPER_WHERE ", " HOPPER_SELECTOR
               ", keep" HOPPER_SIGNS ";\n}"
               : HOPPER_SUM_OPERANDS
               : "l"(a), "l"(b), "r"(keep), "r"(where), "n"(kSelector));
#endif
}
#endif

#ifndef HUSSAR_EMULATED
__device__ __forceinline__ void hopper_begin_multiply() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void hopper_end_multiply() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most kGroups of the committed groups are unfinished.
template <int kGroups>
__device__ __forceinline__ void hopper_wait_multiply() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroups) : "memory");
}

// Behind a wait: no use of the sum moves above it.
__device__ __forceinline__ void hopper_settle(ProductSum& sum) {
  asm volatile("" : PRODUCT_SUM_OPERAND(sum)::"memory");
}
#endif
