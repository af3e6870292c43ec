// com.microsoft.QLinearGlobalAveragePool: the mean of every plane of a quantized tensor.
#include "ops/op_def.h"
#include "ops/quantized_composite.h"

namespace hussar {

static Status expand(Builder& builder) { return expand_quantized_pool(builder, "GlobalAveragePool"); }

extern const OpDef q_linear_global_average_pool_op = {
    .name = "com.microsoft.QLinearGlobalAveragePool", .min_inputs = 2, .max_inputs = 5, .expand = expand};

}  // namespace hussar
