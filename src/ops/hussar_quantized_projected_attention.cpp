// hussar.QuantizedProjectedAttention(x, w, w_scale, bias?, x_scale?, x_zero_point?, mask?, q_scale?, k_scale?,
// v_scale?): attention on what a product of bytes makes, bytes or floats; see projected_attention.h.
#include "ops/op_def.h"
#include "ops/projected_attention.h"

namespace hussar {

extern const OpDef hussar_quantized_projected_attention_op = {.name = kQuantizedProjectedAttention,
                                                              .min_inputs = 3,
                                                              .max_inputs = projected::kInputs,
                                                              .expand = expand_projected_attention,
                                                              .flops = flops_of_projected_attention};

}  // namespace hussar
