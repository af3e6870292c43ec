// com.microsoft.QLinearSoftmax: Softmax of a quantized tensor, by the definition of the opset that its attribute names:
// before opset 13 all axes from `axis` on are one.
#include "ops/op_def.h"
#include "ops/quantized_composite.h"

namespace hussar {

static Status expand(Builder& builder) {
  Value* x = HUSSAR_TRY(dequantized(builder, 0));
  const bool flattens = builder.attributes.get_int("opset", 13) < 13;
  const int64_t axis = builder.attributes.get_int("axis", flattens ? 1 : -1);
  const int64_t last = int64_t{builder.rank()} - 1;
  Attributes attributes;
  attributes.set("axis", flattens ? int64_t{-1} : axis);
  if (!flattens || axis == -1 || axis == last) {
    x = builder.make("Softmax", {x}, std::move(attributes));
  } else {
    Attributes from;
    from.set("axis", axis);
    Value* rows = builder.make("Softmax", {builder.make("Flatten", {x}, std::move(from))}, std::move(attributes));
    x = builder.make("Reshape", {rows, builder.make("Shape", {x})});
  }
  builder.result(0, HUSSAR_TRY(quantized(builder, x, 3)));
  return {};
}

extern const OpDef q_linear_softmax_op = {
    .name = "com.microsoft.QLinearSoftmax", .min_inputs = 2, .max_inputs = 5, .expand = expand};

}  // namespace hussar
