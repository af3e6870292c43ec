// Products and convolutions in FP32 with sparse weights (backends/cpu/sparse_packing.h): the dense tiles over the kept
// k. Rows of A are gathered as for the dense ones; a tile reads from them what the index of its block of columns names.
// So each element is summed over the kept k in ascending order: the same as with the zeros, but for infinite
// activations.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar::cpu {

struct SparseArgs {
  ConvArgs conv;  // in one group; a product with a matrix is a convolution of kernel 1 over a line of pixels
  int64_t shared_panels = 1;  // of a block
};

struct SparseTable {
  // Executes one share of a static partition; scratch is tile_scratch_bytes(k) bytes.
  void (*conv)(const SparseArgs& args, Share share, void* scratch);
};
HUSSAR_DECLARE_PER_ISA(SparseTable, sparse_table)

}  // namespace hussar::cpu
