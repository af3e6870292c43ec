// Tiles of convolutions that bring patches, multiplied by warpgroups (wgmma), on Hopper. Behind patch_tiles.cuh and
// hopper_wgmma.cuh, whose PRODUCT_BN is 64 or 128.
//
// Chunk c of all pixels of a patch lies in plane c, 16 bytes a pixel, and so do chunks of filters: matrices without
// swizzle (PTX ISA, "Canonical layouts"), whose eight rows of 16 bytes are eight neighbouring pixels of a line. A
// warpgroup takes eight lines of a tile, so that the next eight rows of its matrix are the next line: a tap is another
// address.
#pragma once

constexpr int kFilters = PRODUCT_BN;
constexpr int kWarpgroups = PATCH_ROWS / 8;
constexpr int kThreads = 128 * kWarpgroups;
constexpr int kHalves = kColumns / 8;  // matrices of a warpgroup, each of 8 x 8 pixels
constexpr unsigned kPlaneBytes = kPatchPixels * 16;
constexpr unsigned kLineBytes = PATCH_STRIDE_1 * PATCH_STRIDE_2 * kPlaneColumns * 16;
constexpr bool kMultipliesBeside = true;  // the next patch comes meanwhile
static_assert(PATCH_ROWS % 8 == 0 && kColumns % 8 == 0);

// In bytes, of a patch and of the weights.
__device__ __forceinline__ unsigned place_of_pixel(int pixel, int chunk) { return chunk * kPlaneBytes + pixel * 16; }
__device__ __forceinline__ unsigned place_of_filter(int entry, int chunk) { return (chunk * kFilters + entry) * 16; }

// A matrix whose eight rows of 16 bytes lie side by side: the next eight are `rows` bytes behind, the next 16 bytes of
// k `chunks` bytes.
__device__ __forceinline__ unsigned long long describe_plane(unsigned address, unsigned rows, unsigned chunks) {
  return ((address & 0x3ffffu) >> 4) | static_cast<unsigned long long>(chunks >> 4) << 16 |
         static_cast<unsigned long long>(rows >> 4) << 32;
}

// Makes what the thread has written to shared memory visible to products.
__device__ __forceinline__ void show_copies() {
#ifndef HUSSAR_EMULATED
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

using Accumulator = ProductSum[kHalves][kFilters / 2];

__device__ __forceinline__ void multiply_patch(Accumulator& sum, unsigned patch, unsigned weights) {
  const int first_row = static_cast<int>(threadIdx.x) / 128 * 8;
  hopper_begin_multiply();
#pragma unroll
  for (int down = 0; down < PATCH_KERNEL_1; ++down) {
#pragma unroll
    for (int across = 0; across < PATCH_KERNEL_2; ++across) {
      const int pixel = pixel_index(first_row * PATCH_STRIDE_1 + down, across);
#pragma unroll
      for (int chunk = 0; chunk < kPixelChunks; chunk += 2) {
        const unsigned tap = (down * PATCH_KERNEL_2 + across) * kPixelChunks + chunk;
        const unsigned long long b = describe_plane(weights + place_of_filter(0, tap), 128, kFilters * 16);
#pragma unroll
        for (int half = 0; half < kHalves; ++half)
          hopper_multiply(sum[half],
                          describe_plane(patch + place_of_pixel(pixel + 8 * half, chunk), kLineBytes, kPlaneBytes), b,
                          down + across + chunk > 0);
      }
    }
  }
  hopper_end_multiply();
}

__device__ __forceinline__ void end_multiply(Accumulator& sum) {
  hopper_wait_multiply<0>();
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
#pragma unroll
    for (int i = 0; i < kFilters / 2; ++i) hopper_settle(sum[half][i]);
  }
}

// Group g of a thread is pixel 8 * (g / 2) + lane / 4 of the line of the warpgroup's eight that is 2 * warp + g % 2.
__device__ __forceinline__ void finish_patch(const Accumulator& sum, ProductOutput* y, const ProductProblem& problem,
                                             const EpilogueOperands& operands, const Patches& patches,
                                             const PatchTile& tile) {
  const int lane = static_cast<int>(threadIdx.x) & 31, first_row = static_cast<int>(threadIdx.x) / 32 * 2;
#pragma unroll
  for (int block = 0; block < kFilters / 32; ++block) {
    const bool whole = tile.row + PATCH_ROWS <= patches.rows && tile.column + kColumns <= patches.columns &&
                       32 * block + 32 <= PRODUCT_N;
    if (32 * block >= PRODUCT_N) continue;
    const auto take = [&](int group, ProductSum(&value)[8]) {
#pragma unroll
      for (int c = 0; c < 8; ++c) value[c] = sum[group / 2][16 * block + 4 * (c / 2) + group % 2 * 2 + c % 2];
    };
    finish_groups<2 * kHalves>(
        y, problem, operands, patches, tile, 32 * block + 8 * (lane & 3), whole, take,
        [&](int group) { return first_row + group % 2; }, [&](int group) { return (lane >> 2) + 8 * (group / 2); });
  }
}
