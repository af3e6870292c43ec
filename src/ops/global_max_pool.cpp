// GlobalMaxPool: the maximum of every plane.
#include "ops/pool.h"

namespace hussar {

static Status evaluate(EvalContext& context) {
  return evaluate_global_pool<double>(context, [](const double* x, int64_t size) {
    double best = -std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < size; ++i) best = x[i] > best || std::isnan(x[i]) ? x[i] : best;
    return best;
  });
}

extern const OpDef global_max_pool_op = {
    .name = "GlobalMaxPool", .min_inputs = 1, .max_inputs = 1, .infer = infer_global_pool, .evaluate = evaluate};

}  // namespace hussar
