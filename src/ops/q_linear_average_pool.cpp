// com.microsoft.QLinearAveragePool: AveragePool of a quantized tensor.
#include "ops/op_def.h"
#include "ops/quantized_composite.h"

namespace hussar {

static Status expand(Builder& builder) { return expand_quantized_pool(builder, "AveragePool"); }

extern const OpDef q_linear_average_pool_op = {
    .name = "com.microsoft.QLinearAveragePool", .min_inputs = 2, .max_inputs = 5, .expand = expand};

}  // namespace hussar
