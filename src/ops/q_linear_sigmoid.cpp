// com.microsoft.QLinearSigmoid: Sigmoid of a quantized tensor.
#include "ops/op_def.h"
#include "ops/quantized_composite.h"

namespace hussar {

static Status expand(Builder& builder) { return expand_quantized_unary(builder, "Sigmoid"); }

extern const OpDef q_linear_sigmoid_op = {
    .name = "com.microsoft.QLinearSigmoid", .min_inputs = 2, .max_inputs = 5, .expand = expand};

}  // namespace hussar
