// Normalisations to mean 0 and variance 1.
#pragma once
#include "ops/elementwise.h"

namespace hussar {

// Output 0 like x; scale and bias (inputs 1 and 2) must be [C] for x [N][C]....
Status infer_channel_normalization(InferContext& context);
// Normalises `count` consecutive runs of `length` elements of x [N][C]... with the attribute epsilon, then applies
// scale and bias of each element's channel.
Status normalize_groups(EvalContext& context, int64_t count, int64_t length);

// LayerNormalization and RMSNormalization over the axes from `axis` on: checks, output 0 (dtype `dtype`), and outputs 1
// and 2 with those axes reduced to 1 as float32.
Status infer_trailing_normalization(InferContext& context, DType dtype);
// y = (x - mean) / sqrt(mean square deviation + epsilon) * scale + bias; mean is 0 unless `center`.
Status normalize_trailing(EvalContext& context, bool center);

}  // namespace hussar
