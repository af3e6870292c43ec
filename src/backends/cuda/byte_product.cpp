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

// Scales that are found when the model runs.
Refusal check_run_scales(const Problem& problem, RunScales kind) {
  if (problem.node.op != "hussar.QuantizedMatMul") return "scale of the input is known in a run only";
  const Value* scale = problem.input(kScaleInput);
  const bool of_rows = kind == RunScales::kRows;
  if (problem.own_inputs() != (of_rows ? kScaleInput : kZeroPointInput) + 1 || scale == nullptr) return "scales";
  if (scale->dtype != DType::kFloat32 || scale->layout != Layout::kPlain) return "scales";
  if (of_rows) return {};
  const Value* zero_point = problem.input(kZeroPointInput);
  if (zero_point == nullptr || zero_point->dtype != DType::kUInt8) return "zero point";
  for (const Value* number : {scale, zero_point}) {
    for (const Dim& dim : *number->dims) {
      if (!dim.is(1)) return "scales";
    }
  }
  return {};
}

Refusal check_bytes(const Problem& problem) {
  const bool is_fp8 = problem.dtype(0) == kFp8 && problem.dtype(1) == kFp8;
  const RunScales scales_of_run = run_scales(problem.node.op, problem.dtype(0), problem.own_inputs());
  const bool has_rows = scales_of_run == RunScales::kRows;
  if (!is_fp8 && ((problem.dtype(0) != DType::kUInt8 && !has_rows) || problem.dtype(1) != DType::kInt8)) return "dtype";
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  if (!problem.is_constant(1)) return "needs constant weights";
  if (scales_of_run != RunScales::kNone) {
    if (Refusal refusal = check_run_scales(problem, scales_of_run)) return refusal;
  } else if (problem.own_inputs() > kScaleInput) {
    return "scales";
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

Refusal check_integers(const Problem& problem) {
  for (size_t i : {size_t{0}, size_t{1}}) {
    const DType dtype = problem.dtype(i);
    if (dtype != DType::kUInt8 && dtype != DType::kInt8) return "dtype";
    const Value* zero_point = problem.own_inputs() > i + 2 ? problem.input(i + 2) : nullptr;
    if (zero_point != nullptr && zero_point->dtype != dtype) return "dtype of zero points";
  }
  return problem.node.program && problem.own_inputs() != 4 ? Refusal("no place for zero points") : Refusal();
}

}  // namespace

Refusal check_factors(const Problem& problem) {
  const DType output = problem.output()->dtype;
  const bool of_bytes = is_byte_product(problem.node.op), of_integers = problem.node.op == kIntegerMatMul;
  const bool may_round = of_bytes || of_integers || problem.node.op == kConvToBytes;
  if (!is_float(output) && !(is_quantized(output) && may_round)) return "dtype";
  if (of_integers) return check_integers(problem);
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  if (of_bytes) return check_bytes(problem);
  return is_float(problem.dtype(0)) && is_float(problem.dtype(1)) ? Refusal() : Refusal("dtype");
}

namespace {

// `sums`: of the weights of each column; `bias`: null where there is none.
Tensor table_of(const Tensor& scales, float x_scale, double zero_point, std::span<const int32_t> sums,
                const float* bias) {
  const int64_t columns = scales.elements();
  Tensor table(DType::kFloat32, {kRows, columns});
  auto* row = table.data<float>();
  for (int64_t column = 0; column < columns; ++column) {
    const float scale = scales.data<float>()[column];
    row[column] = scale * x_scale;
    const double added = zero_point * sums[static_cast<size_t>(column)] * static_cast<double>(row[column]);
    row[columns + column] = static_cast<float>((bias != nullptr ? static_cast<double>(bias[column]) : 0) - added);
    row[2 * columns + column] = scale;
  }
  return table;
}

Tensor byte_table(const Node& product, bool subtracts) {
  const Tensor scales = *product.inputs[2]->constant;
  const int64_t columns = scales.elements();
  const auto zero_point = subtracts ? 0.0 : static_cast<double>(product.attributes.get_int("x_zero_point", 0));
  const size_t own = product.program ? static_cast<size_t>(product.program_inputs) : product.inputs.size();
  const bool of_run = run_scales(product.op, product.inputs[0]->dtype, own) == RunScales::kTensor;
  std::vector<int32_t> sums(static_cast<size_t>(columns));
  if (zero_point != 0 || of_run)
    sums = column_sums(*product.inputs[1]->constant, product.op == "hussar.QuantizedMatMul");
  const bool has_bias = product.input(3) != nullptr && (!product.program || product.program_inputs > 3);
  const float* bias = has_bias ? product.inputs[3]->constant->data<float>() : nullptr;
  Tensor table = table_of(scales, product.attributes.get_float("x_scale", 1), zero_point, sums, bias);
  for (int64_t column = 0; of_run && column < columns; ++column)
    table.data<float>()[column] = std::bit_cast<float>(sums[static_cast<size_t>(column)]);
  return table;
}

Result<Tensor> scales_of_table(const Node& node, size_t index) {
  const Value* table = node.input(index);
  const bool fits = table != nullptr && table->is_constant() && table->constant->dtype() == DType::kFloat32 &&
                    table->constant->shape().rank() == 2 && table->constant->shape()[0] == kRows;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "{}: the scales of its weights are not what they were",
               describe(node));
  const Tensor packed = *table->constant;
  const int64_t columns = packed.shape()[1];
  Tensor scales(DType::kFloat32, {columns});
  std::copy_n(packed.data<float>() + 2 * columns, columns, scales.data<float>());
  return scales;
}

}  // namespace

void make_table(Packing& packing, bool subtracts) {
  if (is_byte_product(packing.node.op)) packing.replace(2, byte_table(packing.node, subtracts));
}

Status forget_table(Packing& packing) {
  packing.replace(2, HUSSAR_TRY(scales_of_table(packing.node, 2)));
  return {};
}

void make_two_tables(Packing& packing) {
  const Node& node = packing.node;
  const size_t each = inputs_of_part(node.op);
  Tensor tables[2];
  for (size_t part : {0, 1}) {
    const Attributes attributes = part_attributes(node.attributes, part == 1);
    const size_t first = part * each;
    const Tensor scales = *node.inputs[first + 2]->constant;
    const auto zero_point = static_cast<double>(attributes.get_int("x_zero_point", 0));
    std::vector<int32_t> sums(static_cast<size_t>(scales.elements()));
    if (zero_point != 0) sums = column_sums(*node.inputs[first + 1]->constant, false);
    const Value* bias = node.input(first + 3);
    tables[part] = table_of(scales, attributes.get_float("x_scale", 1), zero_point, sums,
                            bias != nullptr ? bias->constant->data<float>() : nullptr);
  }
  const int64_t columns = tables[0].shape()[1];
  for (int64_t column = columns; column < 2 * columns; ++column)
    tables[0].data<float>()[column] += tables[1].data<float>()[column];
  packing.replace(2, std::move(tables[0]));
  packing.replace(each + 2, std::move(tables[1]));
}

Status forget_two_tables(Packing& packing) {
  for (size_t index : {size_t{2}, inputs_of_part(packing.node.op) + 2})
    packing.replace(index, HUSSAR_TRY(scales_of_table(packing.node, index)));
  return {};
}

bool is_table(const Operand& table, int64_t columns) {
  return table.dtype == DType::kFloat32 && table.shape.rank() == 2 && table.shape[0] == kRows &&
         table.shape[1] == columns;
}

}  // namespace hussar::cuda
