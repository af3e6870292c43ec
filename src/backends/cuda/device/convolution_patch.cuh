// Convolutions of few channels from patches: a block keeps all weights in shared memory, and for each of its tiles of
// PATCH_ROWS x 16 pixels of the result the pixels that their windows cover. Every tap reads its rows of the product
// from there (ldmatrix, mma.sync), so that what overlaps is brought once. The next patch comes while the last is
// multiplied.
//
// Defined before: product_contract.cuh, shared_copies.cuh, warp_product.cuh, what they ask for, and
//   PATCH_ROWS                          a multiple of PATCH_WARPS, the warps that share them
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
//   block   32 * PATCH_WARPS * ceil(PRODUCT_N / 32) threads
//   shared  kWeightBytes + PATCH_STAGES * kPatchBytes, dynamic
#pragma once

// On the host: 4 x 8 bytes, then 9 x 4 bytes.
struct Patches {
  long long picture, channel, row, column;  // elements of X from one to the next
  int height, width, rows, columns, row_pad, column_pad;
  int tiles, tiles_down, tiles_across;  // all of them; of a picture
};

constexpr int kColumns = 16;
constexpr int kChunkElements = 16 / static_cast<int>(sizeof(ProductInput));
constexpr int kPixelChunks = PATCH_CHANNELS / kChunkElements;
constexpr int kTaps = PATCH_KERNEL_1 * PATCH_KERNEL_2;
constexpr int kFilterChunks = kTaps * kPixelChunks;
constexpr int kWarpsN = (PRODUCT_N + 31) / 32;
constexpr int kThreads = 32 * PATCH_WARPS * kWarpsN;
constexpr int kPatchRows = (PATCH_ROWS - 1) * PATCH_STRIDE_1 + PATCH_KERNEL_1;
constexpr int kPatchColumns = (kColumns - 1) * PATCH_STRIDE_2 + PATCH_KERNEL_2;
// Pixels whose columns have the same rest lie side by side: windows that neighbour read neighbours.
constexpr int kPlaneColumns = (kPatchColumns + PATCH_STRIDE_2 - 1) / PATCH_STRIDE_2;
constexpr int kPatchBytes = kPatchRows * PATCH_STRIDE_2 * kPlaneColumns * kPixelChunks * 16;
constexpr int kWeightBytes = 32 * kWarpsN * kFilterChunks * 16;
constexpr int kBlocksM = PATCH_ROWS / PATCH_WARPS;  // of 16 pixels, of a warp
constexpr int kBlocksN = 4;                         // of 8 filters
static_assert(PATCH_ROWS % PATCH_WARPS == 0 && kPixelChunks % 2 == 0);

// Where a chunk of entry `index` lies, of entries of kChunks: those of eight neighbours are in different banks.
template <int kChunks>
__device__ __forceinline__ unsigned place_of_chunk(int index, int chunk) {
  constexpr int kShared = kChunks % 8 == 0 ? 8 : kChunks % 4 == 0 ? 4 : 2;
  return (index * kChunks + (chunk ^ (index / (8 / kShared) & (kShared - 1)))) * 16;
}

__device__ __forceinline__ int pixel_index(int row, int column) {
  return (row * PATCH_STRIDE_2 + column % PATCH_STRIDE_2) * kPlaneColumns + column / PATCH_STRIDE_2;
}

// Filters in the order that leaves every thread with eight neighbours (multiply_tap): of each 32, 8i + 2b + e is entry
// 8b + 2i + e.
__device__ __forceinline__ void copy_weights(unsigned to, const ProductInput* w) {
  for (int i = static_cast<int>(threadIdx.x); i < 32 * kWarpsN * kFilterChunks; i += kThreads) {
    const int filter = i / kFilterChunks, chunk = i % kFilterChunks;
    const int entry = (filter & ~31) | (filter & 6) << 2 | (filter >> 2 & 6) | (filter & 1);
    const bool inside = filter < PRODUCT_N;
    copy_chunk(to + place_of_chunk<kFilterChunks>(entry, chunk), inside ? w + i * kChunkElements : w, inside);
  }
}

struct PatchTile {
  int picture, row, column;  // of the first pixel
};
__device__ __forceinline__ PatchTile patch_tile(const Patches& patches, int tile) {
  const int line = tile / patches.tiles_across, picture = line / patches.tiles_down;
  return {picture, (line - picture * patches.tiles_down) * PATCH_ROWS, (tile - line * patches.tiles_across) * kColumns};
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
      *reinterpret_cast<decltype(chunks + 0)>(to + place_of_chunk<kPixelChunks>(pixel_index(row, column), chunk)) =
          chunks[chunk];
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
    copy_chunk(address + place_of_chunk<kPixelChunks>(pixel_index(row, column), chunk), inside ? from : x, inside);
  }
}

#endif

using Accumulator = ProductSum[kBlocksM][kBlocksN][4];

// Adds what one tap gives the warp's pixels and filters.
__device__ __forceinline__ void multiply_tap(Accumulator& sum, unsigned patch, unsigned weights, int down, int across,
                                             int first_row, int first_filter) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int pixel = pixel_index(first_row * PATCH_STRIDE_1 + down, across) + (lane & 15);
  constexpr int kNextRow = PATCH_STRIDE_1 * PATCH_STRIDE_2 * kPlaneColumns;
  const int tap = (down * PATCH_KERNEL_2 + across) * kPixelChunks;
#pragma unroll
  for (int chunk = 0; chunk < kPixelChunks; chunk += 2) {
    unsigned a[kBlocksM][4];
#pragma unroll
    for (int i = 0; i < kBlocksM; ++i)
      load_matrices(a[i], patch + place_of_chunk<kPixelChunks>(pixel + i * kNextRow, chunk + (lane >> 4)));
#pragma unroll
    for (int j = 0; j < kBlocksN; j += 2) {
      unsigned b[4];
      load_matrices(b, weights + place_of_chunk<kFilterChunks>(first_filter + 8 * (j + (lane >> 4)) + (lane & 7),
                                                               tap + chunk + (lane >> 3 & 1)));
#pragma unroll
      for (int i = 0; i < kBlocksM; ++i) {
        multiply(sum[i][j], a[i], b[0], b[1]);
        multiply(sum[i][j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

// Group g of a thread: eight neighbouring filters of pixel 8 * (g % 2) + lane / 4 of row g / 2.
__device__ __forceinline__ void take_group(const Accumulator& sum, int group, ProductSum (&value)[8]) {
#pragma unroll
  for (int c = 0; c < 8; ++c) value[c] = sum[group / 2][c / 2][group % 2 * 2 + c % 2];
}

__device__ __forceinline__ void finish_patch(const Accumulator& sum, ProductOutput* y, const ProductProblem& problem,
                                             const EpilogueOperands& operands, const Patches& patches,
                                             const PatchTile& tile, int first_row, int first_filter) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int filter = first_filter + 8 * (lane & 3), column = tile.column + (lane >> 2);
  const bool whole = tile.row + PATCH_ROWS <= patches.rows && tile.column + kColumns <= patches.columns &&
                     first_filter + 32 <= PRODUCT_N;
  const int first = (tile.picture * patches.rows + tile.row + first_row) * patches.columns + column;
  // What lies outside of the picture is no row of the product.
  const auto row = [&](int group) {
    const bool inside =
        whole || (tile.row + first_row + group / 2 < patches.rows && column + 8 * (group % 2) < patches.columns);
    return inside ? first + group / 2 * patches.columns + 8 * (group % 2) : problem.m;
  };
  product_finish<2 * kBlocksM, 8, true>(
      y, problem, operands, 0, whole, NothingAsked{},
      [&](int group, ProductSum(&value)[8]) { take_group(sum, group, value); }, row, [&](int) { return filter; });
}

extern "C" __global__ void __launch_bounds__(kThreads)
    convolve_patches(const PatchSource* x, const ProductInput* w, ProductOutput* y,
                     const __grid_constant__ ProductProblem problem, const __grid_constant__ EpilogueOperands operands,
                     const __grid_constant__ Patches patches) {
  extern __shared__ __align__(128) unsigned char shared[];
  const unsigned weights = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  unsigned char* const ring = shared + kWeightBytes;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first_row = warp % PATCH_WARPS * kBlocksM, first_filter = warp / PATCH_WARPS * 32;
  const int step = static_cast<int>(gridDim.x);
  product_allow_next_kernel();
  copy_weights(weights, w);
  product_wait_for_earlier_kernels();
  int tile = static_cast<int>(blockIdx.x);
  if (tile < patches.tiles) copy_patch(ring, x, patches, tile);
  end_copies();
  for (int turn = 0; tile < patches.tiles; tile += step, ++turn) {
    const unsigned patch = weights + kWeightBytes + turn % PATCH_STAGES * kPatchBytes;
    if (PATCH_STAGES == 2) {
      if (tile + step < patches.tiles) copy_patch(ring + (turn + 1) % 2 * kPatchBytes, x, patches, tile + step);
      end_copies();
    }
    wait_for_copies<PATCH_STAGES - 1>();
    __syncthreads();
    Accumulator sum = {};
#pragma unroll
    for (int down = 0; down < PATCH_KERNEL_1; ++down) {
#pragma unroll
      for (int across = 0; across < PATCH_KERNEL_2; ++across)
        multiply_tap(sum, patch, weights, down, across, first_row, first_filter);
    }
    __syncthreads();  // all have left the patch, which is filled anew
    if (PATCH_STAGES == 1) {
      if (tile + step < patches.tiles) copy_patch(ring, x, patches, tile + step);
      end_copies();
    }
    finish_patch(sum, y, problem, operands, patches, patch_tile(patches, tile), first_row, first_filter);
  }
  wait_for_copies<0>();
}
