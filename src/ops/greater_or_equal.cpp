// GreaterOrEqual: a >= b with broadcasting.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto a, auto b) { return a >= b; };

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_broadcast_bool(context));
  infer_elements(context, [](const Dim& a, const Dim& b) { return known_order(b, a, 0); });
  return {};
}

extern const OpDef greater_or_equal_op = binary_op("GreaterOrEqual", infer, evaluate_predicate<kCompute>);

}  // namespace hussar
