// hussar.IntegerMatMul(a, b, a_zero_point?, b_zero_point?): the product of two tensors of bytes, signed or not, less
// one zero point each, as MatMulInteger gives it, but as real numbers: the sum is exact and rounded to float32 once.
// Then come the fused program and, perhaps, bytes again, as ops/quantized_product.h says.
#include "ops/integer_matmul.h"
#include "ops/op_def.h"
#include "ops/quantize.h"
#include "ops/quantized_product.h"

namespace hussar {

static Status infer(InferContext& context) {
  for (size_t i : {0, 1}) {
    if (context.dtype(i) != DType::kUInt8 && context.dtype(i) != DType::kInt8)
      return context.fail("takes uint8 or int8");
    if (!context.has(i + 2)) continue;
    if (context.dtype(i + 2) != context.dtype(i)) return context.fail("takes zero points of the type of its operands");
    HUSSAR_TRY(check_parameter(context, i + 2, nullptr));
  }
  return infer_integer_matmul(context, 0, 1, HUSSAR_TRY(check_byte_meanings(context)));
}

static Status evaluate(EvalContext& context) {
  if (context.node.program && context.node.program_inputs != 4) return context.fail("has no place for zero points");
  const std::vector<double> a = HUSSAR_TRY(centered_matrix(context, 0, 2, true));
  const std::vector<double> b = HUSSAR_TRY(centered_matrix(context, 1, 3, false));
  const std::vector<double> sums = multiply(context.shape(0), a, context.shape(1), b, context.output().elements());
  std::vector<float> y(sums.size());
  // Of 32 bits, as those of MatMulInteger.
  for (size_t i = 0; i < sums.size(); ++i)
    y[i] = static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(static_cast<int64_t>(sums[i]))));
  return finish_quantized(context, std::move(y));
}

extern const OpDef hussar_integer_mat_mul_op = {.name = "hussar.IntegerMatMul",
                                                .min_inputs = 2,
                                                .max_inputs = 4,
                                                .traits = kOwnProgram,
                                                .infer = infer,
                                                .evaluate = evaluate,
                                                .flops = integer_matmul_flops};

}  // namespace hussar
