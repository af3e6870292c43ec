// HammingWindow: the cosine sum with the coefficients 25.0 / 46, 21.0 / 46, 0.
#include "ops/window_function.h"

namespace hussar {

static Status evaluate(EvalContext& context) { return evaluate_window_function(context, 25.0 / 46, 21.0 / 46, 0); }

extern const OpDef hamming_window_op = {
    .name = "HammingWindow", .min_inputs = 1, .max_inputs = 1, .infer = infer_window_function, .evaluate = evaluate};

}  // namespace hussar
