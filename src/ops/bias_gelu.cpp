// com.microsoft.BiasGelu: Gelu(x + bias).
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  builder.result(0, builder.make("Gelu", {builder.make("Add", {builder.input(0), builder.input(1)})}));
  return {};
}

extern const OpDef bias_gelu_op = {
    .name = "com.microsoft.BiasGelu", .min_inputs = 2, .max_inputs = 2, .expand = expand};

}  // namespace hussar
