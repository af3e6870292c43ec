// Convolutions and matrix products that multiply in BF16 (AVX512_BF16), on FP32 activations, with FP32 sums.
//
// The register tiles are those of FP32 (kernels/tile) with pairs of k for elements: a pair of A is broadcast as one
// element of 32 bits, a register of B holds the pairs of 16 columns, and vdpbf16ps adds two products to each FP32 sum.
// So a tile is as large, its epilogue is the same, and it takes half the instructions and half the bytes of weights.
// The rows of A are rounded while they are gathered into the scratch tile, the weights lie in the plan as BF16
// (bfloat_packing.h). Results do not depend on the share count.
//
// Operands have 8 bits of mantissa and the range of FP32: a product of random data is off by up to 4e-3 of the largest
// element. Subnormal operands count as zeros (that is how the instruction is defined).
#pragma once
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar::cpu {

struct BfloatArgs {
  // As for TileTable::conv, without `filter`. A matrix product is a convolution of kernel 1 over a line of m pixels: k
  // channels, n filters.
  ConvArgs conv;
  const uint16_t* weights = nullptr;
};

namespace avx512bf16 {
// Executes one share of a static partition. Scratch is half_scratch_bytes(k) bytes aligned to 64, k = taps * channels.
void run_bfloat_product(const BfloatArgs& args, Share share, void* scratch);
}  // namespace avx512bf16

}  // namespace hussar::cpu
