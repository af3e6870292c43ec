// Mean: the arithmetic mean of all inputs with broadcasting.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  auto count = static_cast<double>(builder.node.inputs.size());
  Value* sum = builder.make("Sum", builder.node.inputs);
  builder.result(0, builder.make("Div", {sum, builder.number(count, builder.dtype())}));
  return {};
}

extern const OpDef mean_op = {.name = "Mean", .min_inputs = 1, .max_inputs = -1, .expand = expand};

}  // namespace hussar
