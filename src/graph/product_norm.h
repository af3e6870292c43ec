// Products whose rows are normalized in the same step, hussar.MatMulNorm and hussar.QuantizedMatMulNorm:
//
//   p = the product, with its fused program                    com.microsoft.FusedMatMul, hussar.QuantizedMatMul
//   y = (p - mean) / sqrt(variance + epsilon) * scale + bias   over the last axis; mean is 0 with center=0
//
// Inputs: those of the product, bias (which may be omitted) and scale, then the operands of the program. Output 0 is y,
// as bytes where the node has y_scale (ops/quantized_product.h); output 1 is y as numbers beside bytes, output 2 is p.
// Numbers have the type of scale.
#pragma once
#include "graph/graph.h"

namespace hussar {

inline constexpr size_t kNormInputs = 2;

// The operator of the product, `op` itself where it is no such node.
std::string_view product_op_of(std::string_view op);
inline bool is_product_norm(std::string_view op) { return product_op_of(op) != op; }
// The operator that normalizes what `product` makes; empty: there is none.
std::string_view product_norm_of(std::string_view product);

// Inputs before those of the program, of which the last two are bias and scale.
size_t own_inputs_of(const Node& node);
// The product as a node of no graph, with the outputs of the whole; it makes numbers of the type that they have.
Node product_of(const Node& node);
// The operands of the product among those of the node: all but bias and scale.
template <class Operand>
std::vector<Operand> product_inputs(const Node& node, std::span<const Operand> inputs) {
  std::vector<Operand> list(inputs.begin(), inputs.end());
  const auto end = list.begin() + static_cast<std::ptrdiff_t>(std::min(own_inputs_of(node), list.size()));
  list.erase(end - kNormInputs, end);
  return list;
}

// While it lives, the node has the operator and the inputs of its product: for what knows products only.
class AsProduct {
 public:
  explicit AsProduct(Node& node);
  ~AsProduct();
  AsProduct(const AsProduct&) = delete;
  AsProduct& operator=(const AsProduct&) = delete;

 private:
  Node& node_;
  std::string op_;
  Value* norm_[kNormInputs];
};

// Attributes of the normalization, not of the product.
inline constexpr const char* kOfNorm[] = {"epsilon", "center", "y_scale", "y_zero_point", "y_type"};

}  // namespace hussar
