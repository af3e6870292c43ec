// com.microsoft.QLinearMul: the product of two quantized tensors, which broadcast. Inputs: a, its scale and zero point,
// b, its scale and zero point, the scale and zero point of the result. Zero points may be missing.
#include "ops/op_def.h"
#include "ops/quantized_composite.h"

namespace hussar {

static Status expand(Builder& builder) { return expand_quantized_binary(builder, "Mul"); }

extern const OpDef q_linear_mul_op = {
    .name = "com.microsoft.QLinearMul", .min_inputs = 2, .max_inputs = 8, .expand = expand};

}  // namespace hussar
