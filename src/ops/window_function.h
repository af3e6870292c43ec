// Window functions of signal processing: cosine sums over `size` points.
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

// Output 0: [size] of the dtype of the attribute output_datatype, where size is the element of input 0.
Status infer_window_function(InferContext& context);
// w(n) = a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N), N = size when periodic, else size - 1.
Status evaluate_window_function(EvalContext& context, double a0, double a1, double a2);

}  // namespace hussar
