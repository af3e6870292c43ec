// BlackmanWindow: the cosine sum with the coefficients 0.42, 0.5, 0.08.
#include "ops/window_function.h"

namespace hussar {

static Status evaluate(EvalContext& context) { return evaluate_window_function(context, 0.42, 0.5, 0.08); }

extern const OpDef blackman_window_op = {
    .name = "BlackmanWindow", .min_inputs = 1, .max_inputs = 1, .infer = infer_window_function, .evaluate = evaluate};

}  // namespace hussar
