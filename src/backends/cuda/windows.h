// Convolutions as products of windows and filters (implicit GEMM): a row of X is one window, its elements the channels
// of one tap after the other.
#pragma once
#include "backends/cuda/convolution.h"
#include "backends/cuda/dense_product.h"

namespace hussar::cuda {

// Windows of device/convolution_rows.cuh, as the host passes them.
struct Windows {
  int64_t pitch;
  int32_t input[3], output[3], strides[3], pads[3], dilations[3];
};
Windows windows_of(const Convolution& conv);
// What device texts need to know when they are compiled.
void define_windows(const Convolution& conv, Defines& defines);

// Elements of a picture from one picture, channel, row and column to the next.
struct PictureSteps {
  int64_t picture, channel, row, column;
};
PictureSteps steps_of(const Convolution& conv, Layout layout);

// The product that a convolution without groups is.
DenseProduct window_product(const Convolution& conv);

// Refuses groups, and channels that do not begin at multiples of 16 bytes.
Refusal check_window_product(const Problem& problem);

// Gives the filter the order [filter][tap][channel], that of a depthwise convolution [tap][channel]; its shape stays.
// And back, with the scales of what has a table (byte_product.h).
Status turn_filter(Packing& packing);
Status turn_filter_back(Packing& packing);

}  // namespace hussar::cuda
