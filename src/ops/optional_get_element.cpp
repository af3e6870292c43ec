// OptionalGetElement: what an optional holds. A tensor holds itself.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  builder.result(0, builder.make("Identity", {builder.input(0)}));
  return {};
}

extern const OpDef optional_get_element_op = {
    .name = "OptionalGetElement", .min_inputs = 1, .max_inputs = 1, .expand = expand};

}  // namespace hussar
