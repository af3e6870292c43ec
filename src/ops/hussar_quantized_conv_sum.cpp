// hussar.QuantizedConvSum(x, w, w_scale, bias?, x2, w2, w2_scale, bias2?): two hussar.QuantizedConv and their sum; see
// conv_sum.h. With y_scale the sum is rounded to bytes behind the program, the shortcut before is not.
#include "ops/conv_sum.h"
#include "ops/op_def.h"

namespace hussar {

extern const OpDef hussar_quantized_conv_sum_op = {.name = kQuantizedConvSum,
                                                   .min_inputs = 2,
                                                   .max_inputs = 8,
                                                   .traits = kOwnProgram,
                                                   .infer = infer_conv_sum,
                                                   .evaluate = evaluate_conv_sum,
                                                   .flops = conv_sum_flops};

}  // namespace hussar
