// com.microsoft.FastGelu: Gelu by tanh of x, or of x + bias.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  Value* x = builder.has(1) ? builder.make("Add", {builder.input(0), builder.input(1)}) : builder.input(0);
  Attributes attributes;
  attributes.set("approximate", std::string("tanh"));
  builder.result(0, builder.make("Gelu", {x}, attributes));
  return {};
}

extern const OpDef fast_gelu_op = {
    .name = "com.microsoft.FastGelu", .min_inputs = 1, .max_inputs = 2, .expand = expand};

}  // namespace hussar
