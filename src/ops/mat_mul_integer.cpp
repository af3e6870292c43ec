// MatMulInteger: the product of (a - a_zero_point) and (b - b_zero_point) as int32.
#include "ops/integer_matmul.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) { return infer_integer_matmul(context, 0, 1, DType::kInt32); }

static Status evaluate(EvalContext& context) {
  std::vector<double> a = HUSSAR_TRY(centered_matrix(context, 0, 2, true));
  std::vector<double> b = HUSSAR_TRY(centered_matrix(context, 1, 3, false));
  std::vector<double> product = multiply(context.shape(0), a, context.shape(1), b, context.output().elements());
  auto y = context.write<int64_t>();
  for (int64_t i = 0; i < y.size(); ++i) y[i] = static_cast<int64_t>(product[i]);
  return {};
}

extern const OpDef mat_mul_integer_op = {.name = "MatMulInteger",
                                         .min_inputs = 2,
                                         .max_inputs = 4,
                                         .infer = infer,
                                         .evaluate = evaluate,
                                         .flops = integer_matmul_flops};

}  // namespace hussar
