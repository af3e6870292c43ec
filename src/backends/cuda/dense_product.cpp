// Sizes of dense products, and weights turned around.
#include "backends/cuda/dense_product.h"

#include "backends/cuda/byte_product.h"
#include "backends/cuda/convolution.h"
#include "backends/cuda/matrix_product.h"

namespace hussar::cuda {
namespace {

// Square by square: rows and columns of one fit the cache.
template <class Word>
void transpose(const Tensor& from, Tensor& to) {
  constexpr int64_t kSide = 32;
  const int64_t rows = from.shape()[0], columns = from.shape()[1];
  const auto* source = reinterpret_cast<const Word*>(from.raw());
  auto* target = reinterpret_cast<Word*>(to.raw());
  for (int64_t top = 0; top < rows; top += kSide) {
    for (int64_t left = 0; left < columns; left += kSide) {
      for (int64_t column = left; column < std::min(left + kSide, columns); ++column) {
        for (int64_t row = top; row < std::min(top + kSide, rows); ++row)
          target[column * rows + row] = source[row * columns + column];
      }
    }
  }
}

bool is_convolution(std::string_view op) { return op == "Conv" || op == "hussar.QuantizedConv"; }

bool is_turned(const Attributes& attributes) { return attributes.get_int("transB", 0) != 0; }

}  // namespace

Tensor transposed(const Tensor& from) {
  Tensor to(from.dtype(), Shape{from.shape()[1], from.shape()[0]});
  switch (dtype_size(from.dtype())) {
    case 1: transpose<uint8_t>(from, to); break;
    case 2: transpose<uint16_t>(from, to); break;
    default: transpose<uint32_t>(from, to);
  }
  return to;
}

Result<DenseProduct> product_as_it_was(std::string_view op, const Attributes& attributes, const Operand& x, Operand w,
                                       const Operand& y) {
  if (is_convolution(op) || is_byte_product(op) || is_turned(attributes)) return dense_product(op, attributes, x, w, y);
  Attributes turned = attributes;
  turned.set("transB", int64_t{1});
  w.shape = Shape{w.shape[1], w.shape[0]};
  return dense_product(op, turned, x, w, y);
}

Result<DenseProduct> dense_product(const Node& node) {
  DenseProduct product = HUSSAR_TRY(product_as_it_was(node.op, node.attributes, operand_of(*node.inputs[0]),
                                                      operand_of(*node.inputs[1]), operand_of(*node.outputs[0])));
  product.rows = expected_rows(node.attributes);
  return product;
}

Refusal check_dense_product(const Problem& problem) {
  const Node& node = problem.node;
  const bool is_conv = is_convolution(node.op);
  if (node.op == kIntegerMatMul) return "op";
  if (Refusal refusal =
          is_conv ? check_convolution(problem, {"Conv", "hussar.QuantizedConv"}) : check_matrix_product(problem))
    return refusal;
  if (!problem.is_constant(1)) return "needs constant weights";
  if (!is_conv) {
    if (problem.input(1)->rank() != 2) return "needs a matrix";
    if (node.attributes.get_int("transA", 0) != 0 || node.attributes.get_float("alpha", 1) != 1)
      return "transA or alpha";
  }
  if (dtype_size(problem.dtype(1)) != dtype_size(problem.dtype(0))) return "dtype";
  auto product = dense_product(node);
  if (!product) return "not a product";
  const auto chunk = static_cast<int64_t>(16 / dtype_size(problem.dtype(0)));
  const bool is_aligned = product->n % 8 == 0 && product->k % chunk == 0 && product->x_pitch % chunk == 0 &&
                          product->y_pitch % 8 == 0 && offset_in_holder(*problem.input(0)) % chunk == 0 &&
                          offset_in_holder(*problem.output()) % 8 == 0;
  return is_aligned ? Refusal() : Refusal("rows are not multiples of 16 bytes");
}

Result<DenseProduct> dense_product(std::string_view op, const Attributes& attributes, const Operand& x,
                                   const Operand& w, const Operand& y) {
  DenseProduct product;
  if (is_convolution(op)) {
    const Convolution conv = HUSSAR_TRY(convolution(op, attributes, x, w.shape, y));
    HUSSAR_CHECK(conv.is_pointwise(), ErrorCode::kPlanIncompatible, "the convolution is no product");
    return DenseProduct{conv.pixels(), conv.filters, conv.channels, conv.x_pitch, conv.channels, conv.y_pitch};
  }
  MatrixProduct matrices = HUSSAR_TRY(matrix_product(attributes, x, w, y));
  if (is_byte_product(op)) matrices.b_column = matrices.k, matrices.b_depth = 1;
  const bool is_one = matrices.batch == 1 && matrices.a_depth == 1 && matrices.b_depth == 1;
  HUSSAR_CHECK(is_one, ErrorCode::kPlanIncompatible, "the product is not one of two matrices");
  return DenseProduct{matrices.m, matrices.n, matrices.k, matrices.a_row, matrices.b_column, matrices.n};
}

void turn_weights(Packing& packing) {
  Node& node = packing.node;
  const bool of_bytes = is_byte_product(node.op);
  make_table(packing);
  if (is_convolution(node.op) || is_turned(node.attributes)) return;
  const Tensor& weights = *node.inputs[1]->constant;
  if (of_bytes) {
    packing.replace(1, transposed(weights).reshaped(weights.shape()));
    return;
  }
  packing.replace(1, transposed(weights));
  node.op = "com.microsoft.FusedMatMul";
  node.attributes.set("transB", int64_t{1});
}

Status turn_weights_back(Packing& packing) {
  Node& node = packing.node;
  if (!is_byte_product(node.op)) return {};
  HUSSAR_TRY(forget_table(packing));
  if (is_convolution(node.op)) return {};
  const Value* weights = node.input(1);
  HUSSAR_CHECK(weights != nullptr && weights->is_constant() && weights->constant->shape().rank() == 2,
               ErrorCode::kPlanIncompatible, "{}: its weights are not what they were", describe(node));
  const Shape shape = weights->constant->shape();
  packing.replace(1, transposed(weights->constant->reshaped({shape[1], shape[0]})));
  return {};
}

}  // namespace hussar::cuda
