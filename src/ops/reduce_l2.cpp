// ReduceL2: the square root of the sum of squares.
#include "ops/reduce.h"

namespace hussar {

constexpr auto kCompute = []<class T>(std::span<const T> values) {
  return std::sqrt(static_cast<double>(sum_of(values, [](auto x) { return x * x; })));
};

extern const OpDef reduce_l2_op = reduce_op("ReduceL2", evaluate_reduce<kCompute>);

}  // namespace hussar
