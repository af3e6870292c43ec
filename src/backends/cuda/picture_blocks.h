// Convolutions of few channels, the first ones of networks, as convolutions of stride 1 over blocks of pixels: a block
// has stride x stride pixels, row by row, the channels of each, and zeros up to a whole number of units.
#pragma once
#include "backends/cuda/windows.h"

namespace hussar::cuda {

struct PictureBlocks {
  int64_t stride, block;           // pixels along a side; elements
  int64_t taps_down, taps_across;  // in blocks
  int64_t rows, columns;           // blocks that the windows of a picture cover
  int64_t line() const { return taps_across * block; }
  int64_t k() const { return taps_down * line(); }
};
// Of factors of this type. `unit_bytes`: a block is a multiple of it.
PictureBlocks blocks_of(const Convolution& conv, DType dtype, int64_t unit_bytes);

// What is no first convolution: its operator, ranks, layout and epilogue; then its channels, strides and filter.
Refusal check_first_conv(const Problem& problem);
Refusal check_blocks(const Convolution& conv, DType dtype, int64_t unit_bytes);
// Pictures of floats that are rounded to the type of the filter on their way, whose results may be bytes; others are
// refused with `otherwise`.
Refusal check_picture_types(const Problem& problem, const Refusal& otherwise);

// Gives the filter the order [filter][tap][element of a block], zeros where a block has none.
void pack_blocks(Packing& packing, const PictureBlocks& blocks);
// And back; the picture becomes channels-last: other kernels read nothing else.
Status unpack_blocks(Packing& packing, int64_t unit_bytes);
// Of a step whose filter is packed. Fails where it does not fit.
Result<Convolution> convolution_of_blocks(const Prepare& prepare, int64_t unit_bytes);

}  // namespace hussar::cuda
