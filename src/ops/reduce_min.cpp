// ReduceMin: the smallest element; NaN when there is one. Of nothing: the highest value of the dtype.
#include "ops/reduce.h"

namespace hussar {

static Status infer(InferContext& context) {
  return infer_reduce_elements(context, [](const Dim& a, const Dim& b) { return min(a, b); });
}

static Status evaluate(EvalContext& context) {
  DType dtype = context.input(0).dtype();
  return dispatch(dtype, [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    map_reduction<T>(context, [dtype](std::span<const T> values) {
      T result = highest_value<T>(dtype);
      for (T value : values) result = value < result || value != value ? value : result;
      return result;
    });
    return {};
  });
}

extern const OpDef reduce_min_op = [] {
  OpDef op = reduce_op("ReduceMin", evaluate);
  op.infer = infer;
  return op;
}();

}  // namespace hussar
