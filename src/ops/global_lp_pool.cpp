// GlobalLpPool: (sum of |x|^p over the plane)^(1/p).
#include "ops/pool.h"

namespace hussar {

static Status infer(InferContext& context) {
  if (context.attributes.get_int("p", 2) < 1) return context.fail("p is {}", context.attributes.get_int("p", 2));
  return infer_global_pool(context);
}

static Status evaluate(EvalContext& context) {
  auto p = static_cast<double>(context.attributes.get_int("p", 2));
  return evaluate_global_pool<double>(context, [p](const double* x, int64_t size) {
    double sum = 0;
    for (int64_t i = 0; i < size; ++i) sum += std::pow(std::abs(x[i]), p);
    return std::pow(sum, 1 / p);
  });
}

extern const OpDef global_lp_pool_op = {
    .name = "GlobalLpPool", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
