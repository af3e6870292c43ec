// AveragePool: the mean over a window; padding counts as zeros only with count_include_pad.
#include "ops/pool.h"

namespace hussar {

static Status evaluate(EvalContext& context) {
  bool include_pad = context.attributes.get_int("count_include_pad", 0) != 0;
  return evaluate_pool<double>(context,
                               [&](const double* x, const std::vector<int64_t>& offsets, int64_t padded_count) {
                                 double sum = 0;
                                 for (int64_t offset : offsets) sum += x[offset];
                                 int64_t count = include_pad ? padded_count : static_cast<int64_t>(offsets.size());
                                 return sum / static_cast<double>(std::max<int64_t>(count, 1));
                               });
}

extern const OpDef average_pool_op = {
    .name = "AveragePool", .min_inputs = 1, .max_inputs = 1, .infer = infer_pool, .evaluate = evaluate};

}  // namespace hussar
