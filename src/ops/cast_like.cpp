// CastLike: a Cast to the dtype of the second input.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  Attributes attributes = builder.attributes;
  attributes.set("to", static_cast<int64_t>(builder.dtype(1)));
  builder.result(0, builder.make("Cast", {builder.input(0)}, std::move(attributes)));
  return {};
}

extern const OpDef cast_like_op = {.name = "CastLike", .min_inputs = 2, .max_inputs = 2, .expand = expand};

}  // namespace hussar
