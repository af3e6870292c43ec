// ReduceSumSquare: the sum of squares.
#include "ops/reduce.h"

namespace hussar {

constexpr auto kCompute = []<class T>(std::span<const T> values) {
  return sum_of(values, [](auto x) { return x * x; });
};

extern const OpDef reduce_sum_square_op = reduce_op("ReduceSumSquare", evaluate_reduce<kCompute>);

}  // namespace hussar
