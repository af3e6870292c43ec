#include "backends/cpu/column_steps.h"

#include <fmt/format.h>

#include "backends/cpu/column_weights.h"
#include "backends/cpu/kernels/tile/tile_limits.h"
#include "backends/cpu/matrix_shape.h"
#include "base/error.h"

namespace hussar::cpu {
namespace {

template <class Number>
Tensor pack(const Node& node, DType dtype, int64_t elements) {
  Tensor packed(dtype, {elements});
  pack_columns(constant_weights<Number>(node), packed.data<Number>());
  return packed;
}

// Whether packed weights, of a plan that may say anything, hold k x n.
bool holds(const Tensor& packed, int64_t k, int64_t n) {
  const int64_t elements = packed.elements();
  int64_t numbers = 0;
  const bool is_sane =
      k >= 4 && k % 4 == 0 && n >= 1 && !__builtin_mul_overflow(k, n, &numbers) && numbers <= 2 * elements;
  if (!is_sane) return false;
  if (packed.dtype() == DType::kInt8) return elements == int8_column_bytes(k, n);
  return packed.dtype() == DType::kFloat32 && elements == float_column_floats(k, n);
}

}  // namespace

double product_rows(const Problem& problem) {
  const Node& node = problem.node;
  const Shape& b = node.inputs[1]->constant->shape();
  const auto columns = static_cast<double>(b[weight_form(node) == WeightForm::kTransposed ? 0 : 1]);
  return Problem::elements(problem.output()) / columns;
}

Refusal check_sparse_columns(const Problem& problem) {
  if (!problem.target.no_sparsity.empty()) return std::string(problem.target.no_sparsity);
  const Node& node = problem.node;
  const Shape& b = node.inputs[1]->constant->shape();
  if (b[weight_form(node) == WeightForm::kTransposed ? 1 : 0] % 4 != 0) return "k is no multiple of 4";
  if (product_rows(problem) > static_cast<double>(kFewRows)) return fmt::format("more than {} rows", kFewRows);
  const bool fits = node.inputs[1]->dtype == DType::kInt8 ? is_two_of_four(constant_weights<int8_t>(node))
                                                          : is_two_of_four(constant_weights<float>(node));
  if (!fits) return kNotTwoOfFour;
  return std::nullopt;
}

Status pack_sparse_columns(Packing& packing) {
  Node& node = packing.node;
  const auto facts = constant_weights<float>(node);
  Tensor packed = node.inputs[1]->dtype == DType::kInt8
                      ? pack<int8_t>(node, DType::kInt8, int8_column_bytes(facts.k, facts.n))
                      : pack<float>(node, DType::kFloat32, float_column_floats(facts.k, facts.n));
  remember_matrix_shape(node, facts.k, facts.n);
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack_sparse_columns(Packing& packing) {
  Node& node = packing.node;
  if (!node.attributes.has("hussar_k")) return {};
  const auto [k, n] = recall_matrix_shape(node);
  const Tensor packed = *node.inputs[1]->constant;
  HUSSAR_CHECK(holds(packed, k, n), ErrorCode::kPlanIncompatible, "{}: packed weights that do not hold {} x {}",
               describe(node), k, n);
  const WeightForm form = weight_form(node);
  Tensor unpacked(packed.dtype(), form == WeightForm::kTransposed ? Shape{n, k} : Shape{k, n});
  if (packed.dtype() == DType::kInt8) {
    unpack_columns(packed.data<int8_t>(), view_weights(unpacked.data<int8_t>(), unpacked.shape(), form));
  } else {
    unpack_columns(packed.data<float>(), view_weights(unpacked.data<float>(), unpacked.shape(), form));
  }
  packing.replace(1, std::move(unpacked));
  return {};
}

}  // namespace hussar::cpu
