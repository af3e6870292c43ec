// Convolutions and matrix products that multiply in FP16 (AVX512_FP16), on FP32 activations.
//
// The rows of A are converted while they are gathered into the scratch tile, as the FP32 tiles gather them, and the
// weights lie in the plan as FP16 (half_packing.h). Two neighbours along k are broadcast as one 32-bit element, so that
// a register holds the sums of 16 columns, of even and of odd k apart: a 32-bit broadcast is a load and nothing else,
// where a 16-bit one takes a multiplication port, and one load serves all columns of a tile. After every 128 of k (64
// additions to each sum) the two are added up and go to FP32 sums, in which the bias and the epilogue are computed.
// Results do not depend on the share count.
//
// Where weights are 2:4 with masks that blocks of columns share (sparse_packing.h), what a block keeps of a tile's rows
// is gathered once, and the same tiles multiply it. Two kept k make a pair then, whether even or odd, so sums are added
// up in another order than with the zeros: the same as a dense product of the kept k alone, 64 additions to each sum
// again.
//
// A product of random data is off by up to 1e-3 of the largest element. Magnitudes beyond 65504 become infinite, in the
// activations or in the sum of 128 products.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar::cpu {

struct HalfArgs {
  // As for TileTable::conv, without `filter`. A matrix product is a convolution of kernel 1 over a line of m pixels: k
  // channels, n filters.
  ConvArgs conv;
  const uint16_t* weights = nullptr;
  int64_t shared_panels = 0;  // sparse weights, in one group: panels of a block (sparse_packing.h)
};

namespace avx512fp16 {
// Executes one share of a static partition. Scratch is half_scratch_bytes(k) bytes aligned to 64, k = taps * channels.
void run_half_product(const HalfArgs& args, Share share, void* scratch);
// The same with sparse weights and half_sparse_scratch_bytes(k).
void run_half_sparse(const HalfArgs& args, Share share, void* scratch);
}  // namespace avx512fp16

}  // namespace hussar::cpu
