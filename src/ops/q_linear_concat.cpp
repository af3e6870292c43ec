// com.microsoft.QLinearConcat: quantized tensors side by side. Inputs: the scale and zero point of the result, then
// each tensor with its scale and zero point.
#include "ops/op_def.h"
#include "ops/quantized_composite.h"

namespace hussar {

static Status expand(Builder& builder) {
  const size_t count = builder.node.inputs.size();
  if (count % 3 != 2) return builder.fail("it has {} inputs; 2 and 3 per tensor are wanted", count);
  std::vector<Value*> parts;
  for (size_t i = 2; i < count; i += 3) parts.push_back(HUSSAR_TRY(dequantized(builder, i)));
  Value* whole = builder.make("Concat", std::move(parts), builder.attributes);
  builder.result(0, HUSSAR_TRY(quantized(builder, whole, 0, 2)));
  return {};
}

extern const OpDef q_linear_concat_op = {
    .name = "com.microsoft.QLinearConcat", .min_inputs = 5, .max_inputs = -1, .expand = expand};

}  // namespace hussar
