// com.microsoft.QLinearLeakyRelu: LeakyRelu of a quantized tensor.
#include "ops/op_def.h"
#include "ops/quantized_composite.h"

namespace hussar {

static Status expand(Builder& builder) { return expand_quantized_unary(builder, "LeakyRelu", builder.attributes); }

extern const OpDef q_linear_leaky_relu_op = {
    .name = "com.microsoft.QLinearLeakyRelu", .min_inputs = 2, .max_inputs = 5, .expand = expand};

}  // namespace hussar
