// com.microsoft.BiasAdd: x + bias + skip, as exports of diffusion models write it. x and skip are [N,S,C], bias is [C].
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  Value* sum = builder.make("Add", {builder.input(0), builder.input(1)});
  builder.result(0, builder.make("Add", {sum, builder.input(2)}));
  return {};
}

extern const OpDef bias_add_op = {.name = "com.microsoft.BiasAdd", .min_inputs = 3, .max_inputs = 3, .expand = expand};

}  // namespace hussar
