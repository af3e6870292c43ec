// HannWindow: the cosine sum with the coefficients 0.5, 0.5, 0.
#include "ops/window_function.h"

namespace hussar {

static Status evaluate(EvalContext& context) { return evaluate_window_function(context, 0.5, 0.5, 0); }

extern const OpDef hann_window_op = {
    .name = "HannWindow", .min_inputs = 1, .max_inputs = 1, .infer = infer_window_function, .evaluate = evaluate};

}  // namespace hussar
