// Products with constant weights that the fast kernels take: MatMul and FusedMatMul with one matrix, Conv of kernel 1,
// and these of bytes.
#pragma once
#include "backends/cuda/epilogue_source.h"
#include "backends/cuda/kernel_support.h"

namespace hussar::cuda {

// y[r][c] = sum over i of x[r][i] * w[c][i]: pitches in elements from row to row.
struct DenseProduct {
  int64_t m = 0, n = 0, k = 0;
  int64_t x_pitch = 0, w_pitch = 0, y_pitch = 0;
  double rows = 1;  // the part of m that is expected to be needed, for predictions
  int64_t expected_m() const { return static_cast<int64_t>(std::ceil(static_cast<double>(m) * rows)); }
};

// Refuses what is no such product, or whose rows do not begin at multiples of 16 bytes.
Refusal check_dense_product(const Problem& problem);

// Of a node, whichever way its weights lie. Symbolic dimensions are what operand_of makes of them.
Result<DenseProduct> dense_product(const Node& node);
// Of a step, whose weights lie as [n][k] (turn_weights).
Result<DenseProduct> dense_product(std::string_view op, const Attributes& attributes, const Operand& x,
                                   const Operand& w, const Operand& y);
// Of a step whose weights lie in a way of their own: `w` has the shape that they had before.
Result<DenseProduct> product_as_it_was(std::string_view op, const Attributes& attributes, const Operand& x, Operand w,
                                       const Operand& y);

// A matrix with rows and columns exchanged.
Tensor transposed(const Tensor& from);

// Gives a product's weights, which lie as [k][n], the form [n][k], by way of com.microsoft.FusedMatMul with transB;
// those of bytes keep their shape and have their table then (byte_product.h). The second does what else `unpack` has
// to: the former stays.
void turn_weights(Packing& packing);
Status turn_weights_back(Packing& packing);

}  // namespace hussar::cuda
