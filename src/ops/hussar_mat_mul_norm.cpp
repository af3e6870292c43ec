// hussar.MatMulNorm(a, b, bias?, scale): com.microsoft.FusedMatMul whose rows are normalized; see product_norm.h.
#include "ops/op_def.h"
#include "ops/product_norm.h"

namespace hussar {

extern const OpDef hussar_mat_mul_norm_op = {.name = "hussar.MatMulNorm",
                                             .min_inputs = 2,
                                             .max_inputs = 4,
                                             .max_outputs = 3,
                                             .traits = kOwnProgram,
                                             .infer = infer_product_norm,
                                             .evaluate = evaluate_product_norm,
                                             .flops = product_norm_flops};

}  // namespace hussar
