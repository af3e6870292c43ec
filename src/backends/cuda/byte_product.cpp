// The table that turns sums of bytes into numbers.
#include "backends/cuda/byte_product.h"

#include "backends/cuda/results.h"

namespace hussar::cuda {
namespace {

constexpr int64_t kRows = 3;

// Of the weights of each column: a matrix of k rows, or filters one after the other.
std::vector<int32_t> column_sums(const Tensor& weights, bool is_matrix) {
  const Shape& shape = weights.shape();
  const int64_t columns = is_matrix ? shape[1] : shape[0];
  const int64_t depth = columns == 0 ? 0 : shape.elements() / columns;
  const auto* w = weights.data<int8_t>();
  std::vector<int32_t> sums(static_cast<size_t>(columns));
  for (int64_t i = 0; i < depth; ++i) {
    for (int64_t column = 0; column < columns; ++column) {
      sums[static_cast<size_t>(column)] += is_matrix ? w[i * columns + column] : w[column * depth + i];
    }
  }
  return sums;
}

Refusal check_bytes(const Problem& problem) {
  const bool is_fp8 = problem.dtype(0) == kFp8 && problem.dtype(1) == kFp8;
  const bool has_rows = has_row_scales(problem.node.op, problem.dtype(0));
  if (!is_fp8 && ((problem.dtype(0) != DType::kUInt8 && !has_rows) || problem.dtype(1) != DType::kInt8)) return "dtype";
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  if (!problem.is_constant(1)) return "needs constant weights";
  if (has_rows) {
    const bool fits = problem.node.op == "hussar.QuantizedMatMul" && problem.own_inputs() == kRowScales + 1 &&
                      problem.input(kRowScales) != nullptr && problem.dtype(kRowScales) == DType::kFloat32 &&
                      problem.input(kRowScales)->layout == Layout::kPlain;
    if (!fits) return "scales of rows";
  } else if (problem.own_inputs() > 4) {
    return "scale of the input is known in a run only";
  }
  const Shape& weights = problem.input(1)->constant->shape();
  if (weights.rank() < 2 || weights.elements() == 0) return "empty";
  const int64_t columns = problem.node.op == "hussar.QuantizedMatMul" ? weights[1] : weights[0];
  if (weights.elements() / columns > kQuantizedDepth) return "sums may overflow";
  const Value* bias = problem.own_inputs() > 3 ? problem.input(3) : nullptr;
  const bool is_bias = bias == nullptr ||
                       (bias->is_constant() && bias->dtype == DType::kFloat32 && bias->constant->elements() == columns);
  if (!is_bias) return "bias";
  if (!problem.is_constant(2)) return "needs constant scales";
  const Shape& scales = problem.input(2)->constant->shape();
  return scales.elements() == columns || scales == Shape{kRows, columns} ? Refusal() : Refusal("number of scales");
}

}  // namespace

Refusal check_factors(const Problem& problem) {
  const DType output = problem.output()->dtype;
  const bool of_bytes = is_byte_product(problem.node.op);
  if (!is_float(output) && !(is_quantized(output) && (of_bytes || problem.node.op == kConvToBytes))) return "dtype";
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  if (of_bytes) return check_bytes(problem);
  return is_float(problem.dtype(0)) && is_float(problem.dtype(1)) ? Refusal() : Refusal("dtype");
}

void make_table(Packing& packing, bool subtracts) {
  const Node& node = packing.node;
  if (!is_byte_product(node.op)) return;
  const Tensor scales = *node.inputs[2]->constant;
  const int64_t columns = scales.elements();
  const float x_scale = node.attributes.get_float("x_scale", 1);
  const auto zero_point = subtracts ? 0.0 : static_cast<double>(node.attributes.get_int("x_zero_point", 0));
  std::vector<int32_t> sums(static_cast<size_t>(columns));
  if (zero_point != 0) sums = column_sums(*node.inputs[1]->constant, node.op == "hussar.QuantizedMatMul");
  const bool has_bias = node.input(3) != nullptr && (!node.program || node.program_inputs > 3);
  const float* bias = has_bias ? node.inputs[3]->constant->data<float>() : nullptr;
  Tensor table(DType::kFloat32, {kRows, columns});
  auto* row = table.data<float>();
  for (int64_t column = 0; column < columns; ++column) {
    const float scale = scales.data<float>()[column];
    row[column] = scale * x_scale;
    const double added = zero_point * sums[static_cast<size_t>(column)] * static_cast<double>(row[column]);
    row[columns + column] = static_cast<float>((bias != nullptr ? static_cast<double>(bias[column]) : 0) - added);
    row[2 * columns + column] = scale;
  }
  packing.replace(2, std::move(table));
}

Status forget_table(Packing& packing) {
  Node& node = packing.node;
  const Value* table = node.input(2);
  const bool fits = table != nullptr && table->is_constant() && table->constant->dtype() == DType::kFloat32 &&
                    table->constant->shape().rank() == 2 && table->constant->shape()[0] == kRows;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "{}: the scales of its weights are not what they were",
               describe(node));
  const Tensor packed = *table->constant;
  const int64_t columns = packed.shape()[1];
  Tensor scales(DType::kFloat32, {columns});
  std::copy_n(packed.data<float>() + 2 * columns, columns, scales.data<float>());
  packing.replace(2, std::move(scales));
  return {};
}

bool is_table(const Operand& table, int64_t columns) {
  return table.dtype == DType::kFloat32 && table.shape.rank() == 2 && table.shape[0] == kRows &&
         table.shape[1] == columns;
}

}  // namespace hussar::cuda
