// Convolutions and matrix products on the matrix unit (AMX): in FP32, operands as sums of two bfloat16 each, or in
// BF16, with one.
//
// x = high + low with high = bf16(x), low = bf16(x - high) keeps 16 bits of x. a x b is computed as high x high +
// high x low + low x high with FP32 sums, so that a product is off by at most 3 x 2^-18 of itself: between FP32 and
// TF32, at about five times the FP32 rate of the vector units. (Henry, Tang, Heinecke: "Leveraging the bfloat16
// Artificial Intelligence Datatype For Higher-Precision Computations", 2019.) An infinity has no low part: it gives
// NaN.
//
// Weights are split and packed when the plan is built (matrix_packing.h). A share splits the part of the input that it
// needs into a padded channels-last image of its own, one image per phase of the stride: then the rows of A for one tap
// and 32 channels are 16 pixels at one distance from each other, which a tile register loads straight from the image.
// Rows of A run over the whole width of the image; what the ones in the padding compute is not stored.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar::cpu {

struct MatrixArgs {
  // As for TileTable::conv (depth 1), without `filter`. A matrix product is a convolution of kernel 1 over a line of m
  // pixels: k channels, n filters.
  ConvArgs conv;
  const uint16_t* weights = nullptr;
  int64_t parts = 2;  // bfloat16 of a number: 1, where BF16 is allowed
};

// Bytes of scratch of one share.
int64_t matrix_scratch_bytes(const ConvArgs& conv, int64_t parts);

namespace amx {
// Executes one share of a static partition. Scratch is aligned to 64 bytes.
void run_matrix_product(const MatrixArgs& args, Share share, void* scratch);
}  // namespace amx

}  // namespace hussar::cpu
