// Max: the largest of all inputs, element by element with broadcasting; NaN wins.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto a, auto b) { return a > b || a != a ? a : b; };

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_broadcast(context));
  if (context.input_count() == 2) infer_elements(context, [](const Dim& a, const Dim& b) { return max(a, b); });
  return {};
}

extern const OpDef max_op = variadic_op("Max", infer, evaluate_variadic<kCompute>);

}  // namespace hussar
