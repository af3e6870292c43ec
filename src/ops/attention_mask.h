// The mask of the attention operators: added to the scores, and broadcast to [batch][heads][queries][keys].
#pragma once
#include "ops/infer.h"

namespace hussar {

// That input `input`, if there is one, is such a mask. scores: the four dimensions.
Status check_attention_mask(const InferContext& context, size_t input, const Dims& scores);

}  // namespace hussar
