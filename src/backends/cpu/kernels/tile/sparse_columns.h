// Products in FP32 of few rows with weights that are 2:4 with a mask of its own in every column
// (backends/cpu/column_packing.h): for every kept weight each lane, which is a column, takes one of four activations.
// An element is summed over the kept k in ascending order, with one accumulator that starts at the bias: the same as
// with the zeros, but for infinite activations.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar::cpu {

struct SparseColumnsTable {
  // A convolution of kernel 1 over a line of pixels, in one group. Executes one share of a static partition.
  void (*product)(const ConvArgs& args, Share share);
};
HUSSAR_DECLARE_PER_ISA(SparseColumnsTable, sparse_columns_table)

}  // namespace hussar::cpu
