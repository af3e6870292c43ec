// Weights of bytes of which two of four are zero, as the sparse tensor cores of Hopper read them.
#pragma once
#include "backends/cuda/kernel_support.h"

namespace hussar::cuda {

// Columns that are packed together: kGroupN of device/product_hopper.cuh, an attribute of packed nodes.
inline constexpr std::string_view kSparseGroup = "hussar_sparse_group";

// The bytes of every column, two of four of k, then the words that say which: W and `places` of
// device/product_hopper.cuh.
struct SparseSizes {
  int64_t rows;       // columns of the product, in whole groups
  int64_t row_bytes;  // k / 2
  int64_t words;      // uint32 of one column
  int64_t value_bytes() const { return rows * row_bytes; }
  int64_t bytes() const { return value_bytes() + rows * words * 4; }
};
// `group` 0: sizes are 0. k is a multiple of 32.
SparseSizes sparse_sizes(int64_t n, int64_t k, int64_t group);

// Of a matrix [k][n] of int8 whose columns are 2:4 along k. And back.
Tensor pack_sparse(const Tensor& weights, int64_t group);
Tensor unpack_sparse(const Tensor& packed, int64_t k, int64_t n, int64_t group);

}  // namespace hussar::cuda
