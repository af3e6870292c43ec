// ReduceLogSum: the logarithm of the sum.
#include "ops/reduce.h"

namespace hussar {

constexpr auto kCompute = []<class T>(std::span<const T> values) {
  return std::log(static_cast<double>(sum_of(values, [](auto x) { return x; })));
};

extern const OpDef reduce_log_sum_op = reduce_op("ReduceLogSum", evaluate_reduce<kCompute>);

}  // namespace hussar
