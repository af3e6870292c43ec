#include "graph/product_norm.h"

#include <algorithm>

namespace hussar {
namespace {

struct Pair {
  std::string_view op, product;
};
constexpr Pair kPairs[] = {{"hussar.MatMulNorm", "com.microsoft.FusedMatMul"},
                           {"hussar.MatMulNorm", "MatMul"},
                           {"hussar.QuantizedMatMulNorm", "hussar.QuantizedMatMul"}};
// All but bias and scale, which end the first `own`.
template <class Operand>
std::vector<Operand> without_norm(std::vector<Operand> inputs, size_t own) {
  const auto end = inputs.begin() + static_cast<std::ptrdiff_t>(own);
  inputs.erase(end - kNormInputs, end);
  return inputs;
}

}  // namespace

std::string_view product_op_of(std::string_view op) {
  const auto* found =
      std::find_if(std::begin(kPairs), std::end(kPairs), [&](const Pair& pair) { return pair.op == op; });
  return found == std::end(kPairs) ? op : found->product;
}

std::string_view product_norm_of(std::string_view product) {
  const auto* found =
      std::find_if(std::begin(kPairs), std::end(kPairs), [&](const Pair& pair) { return pair.product == product; });
  return found == std::end(kPairs) ? std::string_view() : found->op;
}

size_t own_inputs_of(const Node& node) {
  return node.program ? static_cast<size_t>(node.program_inputs) : node.inputs.size();
}

Node product_of(const Node& node) {
  Node product;
  product.op = product_op_of(node.op);
  product.name = node.name;
  product.attributes = node.attributes;
  for (const char* name : kOfNorm) product.attributes.erase(name);
  product.inputs = without_norm<Value*>(node.inputs, own_inputs_of(node));
  product.outputs = {node.outputs[0]};
  product.program = node.program;
  product.program_inputs = node.program ? node.program_inputs - static_cast<int32_t>(kNormInputs) : 0;
  return product;
}

AsProduct::AsProduct(Node& node) : node_(node), op_(node.op) {
  const size_t own = own_inputs_of(node);
  std::copy_n(node.inputs.begin() + static_cast<std::ptrdiff_t>(own - kNormInputs), kNormInputs, norm_);
  node.inputs = without_norm<Value*>(node.inputs, own_inputs_of(node));
  if (node.program) node.program_inputs -= static_cast<int32_t>(kNormInputs);
  node.op = product_op_of(op_);
}

AsProduct::~AsProduct() {
  const auto end = node_.inputs.begin() + static_cast<std::ptrdiff_t>(own_inputs_of(node_));
  node_.inputs.insert(end, std::begin(norm_), std::end(norm_));
  if (node_.program) node_.program_inputs += static_cast<int32_t>(kNormInputs);
  node_.op = op_;
}

}  // namespace hussar
