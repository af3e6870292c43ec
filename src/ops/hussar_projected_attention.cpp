// hussar.ProjectedAttention(x, w, bias?, -, -, -, mask?): attention on what a product of floats makes; see
// projected_attention.h.
#include "ops/projected_attention.h"

#include "ops/op_def.h"

namespace hussar {

extern const OpDef hussar_projected_attention_op = {.name = kProjectedAttention,
                                                    .min_inputs = 2,
                                                    .max_inputs = projected::kMask + 1,
                                                    .expand = expand_projected_attention,
                                                    .flops = flops_of_projected_attention};

}  // namespace hussar
