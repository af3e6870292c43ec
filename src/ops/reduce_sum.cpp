// ReduceSum: the sum.
#include "ops/reduce.h"

namespace hussar {

constexpr auto kCompute = []<class T>(std::span<const T> values) { return sum_of(values, [](auto x) { return x; }); };

static Status infer(InferContext& context) {
  return infer_reduce_elements(context, [](const Dim& a, const Dim& b) { return a + b; });
}

extern const OpDef reduce_sum_op = [] {
  OpDef op = reduce_op("ReduceSum", evaluate_reduce<kCompute>);
  op.attribute_inputs = kReduceAxesUntil13;
  op.infer = infer;
  return op;
}();

}  // namespace hussar
