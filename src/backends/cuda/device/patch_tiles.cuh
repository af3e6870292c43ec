// Tiles of pictures, for convolutions that bring patches (convolution_patch.cuh says what is defined before): what a
// block has in shared memory, and where a tile lies.
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
constexpr int kPatchRows = (PATCH_ROWS - 1) * PATCH_STRIDE_1 + PATCH_KERNEL_1;
constexpr int kPatchColumns = (kColumns - 1) * PATCH_STRIDE_2 + PATCH_KERNEL_2;
// Pixels whose columns have the same rest lie side by side: windows that neighbour read neighbours.
constexpr int kPlaneColumns = (kPatchColumns + PATCH_STRIDE_2 - 1) / PATCH_STRIDE_2;
constexpr int kPatchPixels = kPatchRows * PATCH_STRIDE_2 * kPlaneColumns;
constexpr int kPatchBytes = kPatchPixels * kPixelChunks * 16;
static_assert(kPixelChunks % 2 == 0);

__device__ __forceinline__ int pixel_index(int row, int column) {
  return (row * PATCH_STRIDE_2 + column % PATCH_STRIDE_2) * kPlaneColumns + column / PATCH_STRIDE_2;
}

// The order that leaves every thread with eight neighbouring filters: of each 32, 8i + 2b + e is entry 8b + 2i + e.
__device__ __forceinline__ int entry_of(int filter) {
  return (filter & ~31) | (filter & 6) << 2 | (filter >> 2 & 6) | (filter & 1);
}

struct PatchTile {
  int picture, row, column;  // of the first pixel
};
__device__ __forceinline__ PatchTile patch_tile(const Patches& patches, int tile) {
  const int line = tile / patches.tiles_across, picture = line / patches.tiles_down;
  return {picture, (line - picture * patches.tiles_down) * PATCH_ROWS, (tile - line * patches.tiles_across) * kColumns};
}

// Finishes kGroups groups of eight neighbouring filters from `filter` on: take(g, sum) gives the sums of group g, whose
// pixel is (row(g), column(g)) of the tile. `row` and `column` of groups differ by constants.
template <int kGroups, typename Take, typename Row, typename Column>
__device__ __forceinline__ void finish_groups(ProductOutput* y, const ProductProblem& problem,
                                              const EpilogueOperands& operands, const Patches& patches,
                                              const PatchTile& tile, int filter, bool whole, Take take, Row row,
                                              Column column) {
  const int first = (tile.picture * patches.rows + tile.row) * patches.columns + tile.column;
  // What lies outside of the picture is no row of the product.
  const auto place = [&](int group) {
    const bool inside =
        whole || (tile.row + row(group) < patches.rows && tile.column + column(group) < patches.columns);
    return inside ? first + row(group) * patches.columns + column(group) : problem.m;
  };
  product_finish<kGroups, 8, true>(y, problem, operands, 0, whole, take, place, [&](int) { return filter; });
}
