// Weights of which two of four are zero along k, as sparse tensor cores read them.
#pragma once
#include "backends/cuda/kernel_support.h"

namespace hussar::cuda {

// In which order a kernel reads them.
struct SparseOrder {
  int64_t group;  // columns that are packed together
  int64_t warps;  // that share a group
  int64_t load;   // of k, whose words a thread loads at once: a multiple of 64
};
// Of device/product_hopper.cuh, where `group` is kGroupN, an attribute of packed nodes.
inline constexpr std::string_view kSparseGroup = "hussar_sparse_group";
constexpr SparseOrder hopper_order(int64_t group, DType dtype) { return {group, 4, is_half(dtype) ? 128 : 256}; }
// Of device/product_ampere.cuh.
constexpr SparseOrder ampere_order(DType dtype) { return {64, 1, is_half(dtype) ? 64 : 128}; }

// What is kept of every column, two of four of k, then the words that say which: W and `places` of the texts.
struct SparseSizes {
  int64_t rows;           // columns of the product, in whole groups
  int64_t row_elements;   // k / 2, in whole chunks of 16 bytes
  int64_t words;          // uint32 of one column
  int64_t element_bytes;  // 1 or 2
  int64_t value_bytes() const { return rows * row_elements * element_bytes; }
  int64_t bytes() const { return value_bytes() + rows * words * 4; }
};
SparseSizes sparse_sizes(int64_t n, int64_t k, const SparseOrder& order, DType dtype);
// Of weights of this shape.
SparseSizes sparse_sizes(const Shape& shape, WeightForm form, const SparseOrder& order, DType dtype);

// Of int8, FP8, halves or BF16 that are 2:4 along k: a tensor of one dimension and the same type. And back.
Tensor pack_sparse(const Tensor& weights, WeightForm form, const SparseOrder& order);
Tensor unpack_sparse(const Tensor& packed, const Shape& shape, WeightForm form, const SparseOrder& order);

// The shape that the weights had before they were packed, an attribute; nullopt: there is none, or what is packed is
// not of the size of such weights.
std::optional<Shape> sparse_shape(std::string_view op, const Attributes& attributes, const Operand& packed,
                                  const SparseOrder& order);

// Of a step, with the shape that they had.
Result<Operand> sparse_weights(const Prepare& prepare, const SparseOrder& order);

// As memory_cost, with what is packed for input 1: half of each element and a bit that says where it was.
double sparse_memory_cost(const Problem& problem);

// `pack` and `unpack` of input 1 of a node.
void pack_sparse(Packing& packing, const SparseOrder& order);
Status unpack_sparse(Packing& packing, const SparseOrder& order);

}  // namespace hussar::cuda
