// Convolutions of few channels from patches: a block keeps all weights in shared memory, and for each of its tiles of
// PATCH_ROWS x 16 pixels of the result the pixels that their windows cover. Every tap reads its rows of the product
// from there (patch_warps.cuh or patch_warpgroups.cuh, of which one comes before), so that what overlaps is brought
// once. The next patch comes while the last is multiplied.
//
// Defined before: product_contract.cuh, shared_copies.cuh, patch_tiles.cuh, what they ask for, and
//   PATCH_ROWS                          a multiple of PATCH_WARPS, the warps that share them; of 8 for warpgroups
//   PATCH_BLOCKS                        that a multiprocessor shall have registers for
//   PATCH_STAGES                        patches in shared memory, 1 or 2
//   PATCH_CHANNELS                      a multiple of 32 bytes
//   PATCH_KERNEL_1, PATCH_KERNEL_2      taps down and across
//   PATCH_STRIDE_1, PATCH_STRIDE_2
// and PRODUCT_N, the filters, a multiple of 8. Where a pixel of the patch is a block of the picture's, for first
// convolutions, there are, too (and the strides are 1)
//   PICTURE_STRIDE                      pixels of the picture along a side of a block
//   PICTURE_CHANNELS                    what a block has of each; PATCH_CHANNELS elements hold them, zeros behind
//   PICTURE_TYPE, PATCH_TYPE            float, half or bfloat: what is read, and what ProductInput has the bits of
//
// Launch: parameters (x, w, y, ProductProblem, EpilogueOperands, Patches) in this order; w is [filter][tap][channel]
//   grid    any number of blocks: each takes every gridDim.x-th tile
//   block   kThreads
//   shared  kWeightBytes + PATCH_STAGES * kPatchBytes, dynamic
#pragma once

constexpr int kWeightBytes = kFilters * kFilterChunks * 16;

__device__ __forceinline__ void copy_weights(unsigned to, const ProductInput* w) {
  for (int i = static_cast<int>(threadIdx.x); i < kFilters * kFilterChunks; i += kThreads) {
    const int filter = i / kFilterChunks, chunk = i % kFilterChunks;
    const bool inside = filter < PRODUCT_N;
    copy_chunk(to + place_of_filter(entry_of(filter), chunk), inside ? w + i * kChunkElements : w, inside);
  }
}

#ifdef PICTURE_STRIDE

using PatchSource = PICTURE_TYPE;

__device__ __forceinline__ void copy_patch(unsigned char* to, const PatchSource* x, const Patches& patches,
                                           int number) {
  const PatchTile tile = patch_tile(patches, number);
  const int top = tile.row * PICTURE_STRIDE - patches.row_pad, left = tile.column * PICTURE_STRIDE - patches.column_pad;
  const PatchSource* const picture = x + tile.picture * patches.picture;
  for (int i = static_cast<int>(threadIdx.x); i < kPatchRows * kPatchColumns; i += kThreads) {
    const int row = i / kPatchColumns, column = i % kPatchColumns;
    struct alignas(16) {
      PATCH_TYPE values[kChunkElements];
    } chunks[kPixelChunks];
#pragma unroll
    for (int e = 0; e < PATCH_CHANNELS; ++e) {
      const int pixel = e / PICTURE_CHANNELS;
      const int y = top + row * PICTURE_STRIDE + pixel / PICTURE_STRIDE;
      const int place = left + column * PICTURE_STRIDE + pixel % PICTURE_STRIDE;
      const bool inside = pixel < PICTURE_STRIDE * PICTURE_STRIDE && y >= 0 && y < patches.height && place >= 0 &&
                          place < patches.width;
      PATCH_TYPE& value = chunks[e / kChunkElements].values[e % kChunkElements];
      value = PATCH_TYPE{0};
      if (inside)
        value = write<PATCH_TYPE>(
            read<float>(picture[y * patches.row + place * patches.column + e % PICTURE_CHANNELS * patches.channel]));
    }
#pragma unroll
    for (int chunk = 0; chunk < kPixelChunks; ++chunk)
      *reinterpret_cast<decltype(chunks + 0)>(to + place_of_pixel(pixel_index(row, column), chunk)) = chunks[chunk];
  }
}

#else

using PatchSource = ProductInput;

__device__ __forceinline__ void copy_patch(unsigned char* to, const PatchSource* x, const Patches& patches,
                                           int number) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const PatchTile tile = patch_tile(patches, number);
  const int top = tile.row * PATCH_STRIDE_1 - patches.row_pad, left = tile.column * PATCH_STRIDE_2 - patches.column_pad;
  const PatchSource* const picture = x + tile.picture * patches.picture;
  constexpr int kRowChunks = kPatchColumns * kPixelChunks;
  for (int i = static_cast<int>(threadIdx.x); i < kPatchRows * kRowChunks; i += kThreads) {
    const int row = i / kRowChunks, column = i % kRowChunks / kPixelChunks, chunk = i % kPixelChunks;
    const int y = top + row, place = left + column;
    const bool inside = y >= 0 && y < patches.height && place >= 0 && place < patches.width;
    const PatchSource* from = picture + y * patches.row + place * patches.column + chunk * kChunkElements;
    copy_chunk(address + place_of_pixel(pixel_index(row, column), chunk), inside ? from : x, inside);
  }
}

#endif

extern "C" __global__ void __launch_bounds__(kThreads, PATCH_BLOCKS)
    convolve_patches(const PatchSource* x, const ProductInput* w, ProductOutput* y,
                     const __grid_constant__ ProductProblem problem, const __grid_constant__ EpilogueOperands operands,
                     const __grid_constant__ Patches patches) {
  extern __shared__ __align__(128) unsigned char shared[];
  const unsigned weights = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  unsigned char* const ring = shared + kWeightBytes;
  const int step = static_cast<int>(gridDim.x);
  product_allow_next_kernel();
  copy_weights(weights, w);
  product_wait_for_earlier_kernels();
  int tile = static_cast<int>(blockIdx.x);
  if (tile < patches.tiles) copy_patch(ring, x, patches, tile);
  end_copies();
  for (int turn = 0; tile < patches.tiles; tile += step, ++turn) {
    const unsigned patch = weights + kWeightBytes + turn % PATCH_STAGES * kPatchBytes;
    const auto bring_next = [&] {
      const int stage = (turn + 1) % PATCH_STAGES;
      if (tile + step < patches.tiles) copy_patch(ring + stage * kPatchBytes, x, patches, tile + step);
      end_copies();
    };
    if (PATCH_STAGES == 2 && !kMultipliesBeside) bring_next();
    wait_for_copies<PATCH_STAGES == 2 && !kMultipliesBeside>();
    show_copies();
    __syncthreads();
    Accumulator sum;
    multiply_patch(sum, patch, weights);
    if (PATCH_STAGES == 2 && kMultipliesBeside) bring_next();
    end_multiply(sum);
    __syncthreads();  // all have left the patch, which is filled anew
    if (PATCH_STAGES == 1) bring_next();
    finish_patch(sum, y, problem, operands, patches, patch_tile(patches, tile));
  }
  wait_for_copies<0>();
}
