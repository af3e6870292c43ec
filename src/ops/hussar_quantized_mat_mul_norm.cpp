// hussar.QuantizedMatMulNorm(x, w, w_scale, product_bias?, bias?, scale): hussar.QuantizedMatMul whose rows are
// normalized; see product_norm.h.
#include "ops/op_def.h"
#include "ops/product_norm.h"

namespace hussar {

extern const OpDef hussar_quantized_mat_mul_norm_op = {.name = "hussar.QuantizedMatMulNorm",
                                                       .min_inputs = 3,
                                                       .max_inputs = 8,
                                                       .max_outputs = 3,
                                                       .traits = kOwnProgram,
                                                       .infer = infer_product_norm,
                                                       .evaluate = evaluate_product_norm,
                                                       .flops = product_norm_flops};

}  // namespace hussar
