// Sum: the sum of all inputs with broadcasting, a chain of Add.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  Value* sum = builder.make("Identity", {builder.input(0)});
  for (size_t i = 1; i < builder.node.inputs.size(); ++i) {
    if (!builder.has(i)) return builder.fail("input {} is missing", i);
    sum = builder.make("Add", {sum, builder.input(i)});
  }
  builder.result(0, sum);
  return {};
}

extern const OpDef sum_op = {.name = "Sum", .min_inputs = 1, .max_inputs = -1, .expand = expand};

}  // namespace hussar
