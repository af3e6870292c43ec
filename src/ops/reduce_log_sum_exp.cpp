// ReduceLogSumExp: the logarithm of the sum of exponentials, shifted by the maximum so that exp never overflows.
#include "ops/reduce.h"

namespace hussar {

constexpr auto kCompute = []<class T>(std::span<const T> values) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double largest = -kInfinity;
  for (T value : values) largest = std::max(largest, static_cast<double>(value));
  double shift = std::isfinite(largest) ? largest : 0;
  double sum = 0;
  for (T value : values) sum += std::exp(static_cast<double>(value) - shift);
  return std::log(sum) + shift;
};

extern const OpDef reduce_log_sum_exp_op = reduce_op("ReduceLogSumExp", evaluate_reduce<kCompute>);

}  // namespace hussar
