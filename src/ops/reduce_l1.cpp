// ReduceL1: the sum of magnitudes.
#include "ops/reduce.h"

namespace hussar {

constexpr auto kCompute = []<class T>(std::span<const T> values) {
  Accumulator<T> sum = 0;
  for (T value : values) sum += static_cast<Accumulator<T>>(absolute(value));
  return sum;
};

extern const OpDef reduce_l1_op = reduce_op("ReduceL1", evaluate_reduce<kCompute>);

}  // namespace hussar
