// InstanceNormalization: every plane to mean 0 and variance 1, then scale and bias per channel.
#include "ops/normalize.h"

namespace hussar {

static Status infer(InferContext& context) { return infer_channel_normalization(context); }

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  return normalize_groups(context, shape[0] * shape[1], shape.elements(2, shape.rank()));
}

extern const OpDef instance_normalization_op = {
    .name = "InstanceNormalization", .min_inputs = 3, .max_inputs = 3, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
