// ReduceProd: the product.
#include "ops/reduce.h"

namespace hussar {

constexpr auto kCompute = []<class T>(std::span<const T> values) {
  Accumulator<T> product = 1;
  for (T value : values) product *= static_cast<Accumulator<T>>(value);
  return product;
};

static Status infer(InferContext& context) {
  return infer_reduce_elements(context, [](const Dim& a, const Dim& b) { return a * b; });
}

extern const OpDef reduce_prod_op = [] {
  OpDef op = reduce_op("ReduceProd", evaluate_reduce<kCompute>);
  op.infer = infer;
  return op;
}();

}  // namespace hussar
