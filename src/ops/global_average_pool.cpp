// GlobalAveragePool: the mean of every plane.
#include "ops/pool.h"

namespace hussar {

static Status evaluate(EvalContext& context) {
  return evaluate_global_pool<double>(context, [](const double* x, int64_t size) {
    double sum = 0;
    for (int64_t i = 0; i < size; ++i) sum += x[i];
    return sum / static_cast<double>(size);
  });
}

extern const OpDef global_average_pool_op = {
    .name = "GlobalAveragePool", .min_inputs = 1, .max_inputs = 1, .infer = infer_global_pool, .evaluate = evaluate};

}  // namespace hussar
