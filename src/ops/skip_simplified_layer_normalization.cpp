// com.microsoft.SkipSimplifiedLayerNormalization: RMSNormalization of input + skip + bias over the last axis. Inputs:
// input, skip, gamma, bias. Outputs: result, (mean and deviation: training only), the sum.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  if (!builder.has(2)) return builder.fail("gamma is missing");
  Value* sum = builder.make("Add", {builder.input(0), builder.input(1)});
  if (builder.has(3)) sum = builder.make("Add", {sum, builder.input(3)});
  Attributes attributes;
  attributes.set("axis", int64_t{-1});
  attributes.set("epsilon", builder.attributes.get_float("epsilon", 1e-12F));
  builder.result(0, builder.make("RMSNormalization", {sum, builder.input(2)}, attributes));
  builder.result(3, sum);
  return {};
}

extern const OpDef skip_simplified_layer_normalization_op = {.name = "com.microsoft.SkipSimplifiedLayerNormalization",
                                                             .min_inputs = 3,
                                                             .max_inputs = 4,
                                                             .max_outputs = 4,
                                                             .expand = expand};

}  // namespace hussar
