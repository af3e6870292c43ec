// Add: a + b with broadcasting. Integer elements are followed symbolically: shapes are computed with it.
#include "ops/arithmetic.h"
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto a, auto b) { return wrapping_add(a, b); };

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_broadcast(context));
  infer_elements(context, [](const Dim& a, const Dim& b) { return a + b; });
  return {};
}

extern const OpDef add_op = binary_op("Add", infer, evaluate_binary<kCompute>, kCommutative);

}  // namespace hussar
