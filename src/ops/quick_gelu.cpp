// com.microsoft.QuickGelu: x * sigmoid(alpha * x), alpha 1.702 unless given.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  Attributes attributes;
  attributes.set("alpha", builder.attributes.get_float("alpha", 1.702F));
  builder.result(0, builder.make("Swish", {builder.input(0)}, attributes));
  return {};
}

extern const OpDef quick_gelu_op = {
    .name = "com.microsoft.QuickGelu", .min_inputs = 1, .max_inputs = 1, .expand = expand};

}  // namespace hussar
