// com.microsoft.QLinearWhere: Where of two quantized tensors. Inputs: condition, x, its scale and zero point, y, its
// scale and zero point, the scale and zero point of the result.
#include "ops/op_def.h"
#include "ops/quantized_composite.h"

namespace hussar {

static Status expand(Builder& builder) {
  if (!builder.has(0)) return builder.fail("the condition is missing");
  Value* x = HUSSAR_TRY(dequantized(builder, 1));
  Value* y = HUSSAR_TRY(dequantized(builder, 4));
  builder.result(0, HUSSAR_TRY(quantized(builder, builder.make("Where", {builder.input(0), x, y}), 7, 1)));
  return {};
}

extern const OpDef q_linear_where_op = {
    .name = "com.microsoft.QLinearWhere", .min_inputs = 9, .max_inputs = 9, .expand = expand};

}  // namespace hussar
