// What the kernels that pack the constant right side of a matrix product share.
#pragma once
#include <utility>

#include "backends/cpu/kernels/tile/tile.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar::cpu {

// ---- packing

// Packed weights no longer tell their size: it is kept in the attributes hussar_k and hussar_n.
void remember_matrix_shape(Node& node, int64_t k, int64_t n);
// The same k and n, which the node no longer has then. 0, 0: there were none.
std::pair<int64_t, int64_t> recall_matrix_shape(Node& node);
// The constant weights of a product, which are not packed.
template <class Number>
MatrixView<const Number> constant_weights(const Node& node) {
  const Tensor& weights = *node.inputs[1]->constant;
  return view_weights(weights.data<Number>(), weights.shape(), weight_form(node));
}
// Undoes a `pack` that permutes an FP32 matrix. A node that was not packed stays as it is. probe_bits: see
// unpack_permuted.
Status unpack_matrix(Packing& packing, Status (*pack)(Packing&), Decode decode = decode_floats, int probe_bits = 16);

// ---- for kernels that take nothing but a constant matrix on the right

// MatMul and com.microsoft.FusedMatMul
bool is_matrix_product(const Node& node);

// Whether the right side is a constant FP32 matrix, and the left side's columns lie together.
Refusal check_constant_matrix(const Problem& problem);

// That matrix, k x n: element (row, column) at data[row * row_stride + column * column_stride].
struct MatrixFacts {
  const float* data;
  int64_t k, n, row_stride, column_stride;
};
MatrixFacts matrix_facts(const Node& node);

// The product as a convolution of kernel 1 over a line of pixels, from the step's attributes and shapes; no pointers.
// Checks everything but the size of the packed weights, whose elements are of the type `weights`.
Status fill_matrix_geometry(const Prepare& prepare, DType weights, ConvArgs& args);

}  // namespace hussar::cpu
