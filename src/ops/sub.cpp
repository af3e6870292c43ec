// Sub: a - b with broadcasting.
#include "ops/arithmetic.h"
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto a, auto b) { return wrapping_subtract(a, b); };

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_broadcast(context));
  infer_elements(context, [](const Dim& a, const Dim& b) { return a - b; });
  return {};
}

extern const OpDef sub_op = binary_op("Sub", infer, evaluate_binary<kCompute>);

}  // namespace hussar
