// LayerNormalization: mean 0 and variance 1 over the axes from `axis` on, then scale and bias. Outputs 1 and 2 are the
// mean and the inverse standard deviation.
#include "ops/normalize.h"

namespace hussar {

static Status infer(InferContext& context) { return infer_trailing_normalization(context, context.dtype(0)); }
static Status evaluate(EvalContext& context) { return normalize_trailing(context, true); }

extern const OpDef layer_normalization_op = {.name = "LayerNormalization",
                                             .aliases = "com.microsoft.LayerNormalization",
                                             .min_inputs = 2,
                                             .max_inputs = 3,
                                             .max_outputs = 3,
                                             .infer = infer,
                                             .evaluate = evaluate};

}  // namespace hussar
