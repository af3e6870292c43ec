// hussar.ConvSum(x, w, bias?, x2, w2, bias2?): two Conv of floats and their sum; see conv_sum.h.
#include "ops/conv_sum.h"
#include "ops/op_def.h"

namespace hussar {

extern const OpDef hussar_conv_sum_op = {.name = kConvSum,
                                         .min_inputs = 2,
                                         .max_inputs = 6,
                                         .traits = kOwnProgram,
                                         .infer = infer_conv_sum,
                                         .evaluate = evaluate_conv_sum,
                                         .flops = conv_sum_flops};

}  // namespace hussar
