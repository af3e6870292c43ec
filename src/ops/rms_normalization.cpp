// RMSNormalization: x / sqrt(mean(x^2) + epsilon) * scale over the axes from `axis` on.
#include "ops/normalize.h"

namespace hussar {

static Status infer(InferContext& context) { return infer_trailing_normalization(context, context.dtype(1)); }
static Status evaluate(EvalContext& context) { return normalize_trailing(context, false); }

extern const OpDef rms_normalization_op = {
    .name = "RMSNormalization",
    .aliases = "SimplifiedLayerNormalization com.microsoft.SimplifiedLayerNormalization",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer,
    .evaluate = evaluate};

}  // namespace hussar
