// Tiles of convolutions that bring patches, multiplied by warps (ldmatrix, mma.sync), from Ampere on. Behind
// patch_tiles.cuh and warp_product.cuh.
#pragma once

constexpr int kWarpsN = (PRODUCT_N + 31) / 32;
constexpr int kFilters = 32 * kWarpsN;
constexpr int kThreads = 32 * PATCH_WARPS * kWarpsN;
constexpr int kBlocksM = PATCH_ROWS / PATCH_WARPS;  // of 16 pixels, of a warp
constexpr int kBlocksN = 4;                         // of 8 filters
constexpr bool kMultipliesBeside = false;           // products are done when the next instruction comes
static_assert(PATCH_ROWS % PATCH_WARPS == 0);

// Where a chunk of entry `index` lies, of entries of kChunks: those of eight neighbours are in different banks.
template <int kChunks>
__device__ __forceinline__ unsigned place_of_chunk(int index, int chunk) {
  constexpr int kShared = kChunks % 8 == 0 ? 8 : kChunks % 4 == 0 ? 4 : 2;
  return (index * kChunks + (chunk ^ (index / (8 / kShared) & (kShared - 1)))) * 16;
}

// In bytes, of a patch and of the weights.
__device__ __forceinline__ unsigned place_of_pixel(int pixel, int chunk) {
  return place_of_chunk<kPixelChunks>(pixel, chunk);
}
__device__ __forceinline__ unsigned place_of_filter(int entry, int chunk) {
  return place_of_chunk<kFilterChunks>(entry, chunk);
}

// Of the warp.
__device__ __forceinline__ int first_row() { return static_cast<int>(threadIdx.x) / 32 % PATCH_WARPS * kBlocksM; }
__device__ __forceinline__ int first_filter() { return static_cast<int>(threadIdx.x) / 32 / PATCH_WARPS * 32; }

using Accumulator = ProductSum[kBlocksM][kBlocksN][4];

// Adds what one tap gives the warp's pixels and filters.
__device__ __forceinline__ void multiply_tap(Accumulator& sum, unsigned patch, unsigned weights, int down, int across) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int pixel = pixel_index(first_row() * PATCH_STRIDE_1 + down, across) + (lane & 15);
  constexpr int kNextRow = PATCH_STRIDE_1 * PATCH_STRIDE_2 * kPlaneColumns;
  const int tap = (down * PATCH_KERNEL_2 + across) * kPixelChunks;
#pragma unroll
  for (int chunk = 0; chunk < kPixelChunks; chunk += 2) {
    unsigned a[kBlocksM][4];
#pragma unroll
    for (int i = 0; i < kBlocksM; ++i)
      load_matrices(a[i], patch + place_of_pixel(pixel + i * kNextRow, chunk + (lane >> 4)));
#pragma unroll
    for (int j = 0; j < kBlocksN; j += 2) {
      unsigned b[4];
      load_matrices(b, weights + place_of_filter(first_filter() + 8 * (j + (lane >> 4)) + (lane & 7),
                                                 tap + chunk + (lane >> 3 & 1)));
#pragma unroll
      for (int i = 0; i < kBlocksM; ++i) {
        multiply(sum[i][j], a[i], b[0], b[1]);
        multiply(sum[i][j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

__device__ __forceinline__ void multiply_patch(Accumulator& sum, unsigned patch, unsigned weights) {
#pragma unroll
  for (int i = 0; i < kBlocksM; ++i) {
#pragma unroll
    for (int j = 0; j < kBlocksN; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[i][j][e] = 0;
    }
  }
#pragma unroll
  for (int down = 0; down < PATCH_KERNEL_1; ++down) {
#pragma unroll
    for (int across = 0; across < PATCH_KERNEL_2; ++across) multiply_tap(sum, patch, weights, down, across);
  }
}

// What was begun is done.
__device__ __forceinline__ void show_copies() {}
__device__ __forceinline__ void end_multiply(Accumulator&) {}

// Group g of a thread is pixel 8 * (g % 2) + lane / 4 of row g / 2 of the warp's.
__device__ __forceinline__ void finish_patch(const Accumulator& sum, ProductOutput* y, const ProductProblem& problem,
                                             const EpilogueOperands& operands, const Patches& patches,
                                             const PatchTile& tile) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const bool whole = tile.row + PATCH_ROWS <= patches.rows && tile.column + kColumns <= patches.columns &&
                     first_filter() + 32 <= PRODUCT_N;
  const auto take = [&](int group, ProductSum(&value)[8]) {
#pragma unroll
    for (int c = 0; c < 8; ++c) value[c] = sum[group / 2][c / 2][group % 2 * 2 + c % 2];
  };
  finish_groups<2 * kBlocksM>(
      y, problem, operands, patches, tile, first_filter() + 8 * (lane & 3), whole, take,
      [&](int group) { return first_row() + group / 2; }, [&](int group) { return (lane >> 2) + 8 * (group % 2); });
}
