// LpPool: (sum of |x|^p over a window)^(1/p).
#include "ops/pool.h"

namespace hussar {

static Status infer(InferContext& context) {
  if (context.attributes.get_int("p", 2) < 1) return context.fail("p is {}", context.attributes.get_int("p", 2));
  return infer_pool(context);
}

static Status evaluate(EvalContext& context) {
  auto p = static_cast<double>(context.attributes.get_int("p", 2));
  return evaluate_pool<double>(context, [p](const double* x, const std::vector<int64_t>& offsets, int64_t) {
    double sum = 0;
    for (int64_t offset : offsets) sum += std::pow(std::abs(x[offset]), p);
    return std::pow(sum, 1 / p);
  });
}

extern const OpDef lp_pool_op = {
    .name = "LpPool", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
