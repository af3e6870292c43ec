// ArgMax: the index of the largest element along `axis`.
#include "ops/arg_reduce.h"

namespace hussar {

constexpr auto kBetter = [](auto a, auto b) { return a > b; };

extern const OpDef arg_max_op = {.name = "ArgMax",
                                 .min_inputs = 1,
                                 .max_inputs = 1,
                                 .infer = infer_arg_reduce,
                                 .evaluate = evaluate_arg_reduce<kBetter>};

}  // namespace hussar
