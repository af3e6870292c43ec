// com.microsoft.SkipLayerNormalization: LayerNormalization of input + skip + bias over the last axis. Inputs: input,
// skip, gamma, beta, bias. Outputs: result, mean, inverse standard deviation, the sum.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  if (!builder.has(2)) return builder.fail("gamma is missing");
  Value* sum = builder.make("Add", {builder.input(0), builder.input(1)});
  if (builder.has(4)) sum = builder.make("Add", {sum, builder.input(4)});
  Attributes attributes;
  attributes.set("axis", int64_t{-1});
  attributes.set("epsilon", builder.attributes.get_float("epsilon", 1e-12F));
  std::vector<Value*> results =
      builder.make_many("LayerNormalization", {sum, builder.input(2), builder.input(3)}, 3, attributes);
  for (size_t i = 0; i < 3; ++i) builder.result(i, results[i]);
  builder.result(3, sum);
  return {};
}

extern const OpDef skip_layer_normalization_op = {.name = "com.microsoft.SkipLayerNormalization",
                                                  .min_inputs = 3,
                                                  .max_inputs = 5,
                                                  .max_outputs = 4,
                                                  .expand = expand};

}  // namespace hussar
