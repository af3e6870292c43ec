// QLinearMatMul: saturate(round(product * a_scale * b_scale / y_scale) + y_zero_point), where product is that of the
// operands minus their zero points. Parameters of a may be per row, those of b per column.
#include "ops/integer_matmul.h"
#include "ops/op_def.h"
#include "ops/quantize.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(check_parameter(context, 6, nullptr));
  HUSSAR_TRY(check_parameter(context, 7, nullptr));
  return infer_integer_matmul(context, 0, 3, context.dtype(7));
}

static Status evaluate(EvalContext& context) {
  const Shape shape = context.output().shape();
  std::vector<double> a = HUSSAR_TRY(centered_matrix(context, 0, 2, true));
  std::vector<double> b = HUSSAR_TRY(centered_matrix(context, 3, 5, false));
  std::vector<double> product = multiply(context.shape(0), a, context.shape(3), b, shape.elements());
  auto a_scale = context.read<float>(1), b_scale = context.read<float>(4);
  ElementStrides a_strides = HUSSAR_TRY(matrix_parameter_strides(context, 1, shape, true));
  ElementStrides b_strides = HUSSAR_TRY(matrix_parameter_strides(context, 4, shape, false));
  auto y_scale = static_cast<float>(context.number(6, 1));
  double zero_point = context.number(7, 0);
  IntegerRange range = integer_range(context.output().dtype());
  bool floating = is_floating(context.output().dtype());
  auto y = context.write<double>();
  for_each_index(shape, {a_strides, b_strides}, [&](int64_t i, const int64_t* offset) {
    float value = static_cast<float>(product[i]) * (a_scale[offset[0]] * b_scale[offset[1]] / y_scale);
    y[i] =
        floating ? value + zero_point : static_cast<double>(quantize(value, static_cast<int64_t>(zero_point), range));
  });
  return {};
}

extern const OpDef q_linear_mat_mul_op = {.name = "QLinearMatMul",
                                          .min_inputs = 8,
                                          .max_inputs = 8,
                                          .infer = infer,
                                          .evaluate = evaluate,
                                          .flops = integer_matmul_flops};

}  // namespace hussar
