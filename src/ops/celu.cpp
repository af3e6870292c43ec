// Celu: max(0, x) + min(0, alpha * (exp(x / alpha) - 1)).
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](const Attributes& attributes) {
  return [alpha = attributes.get_float("alpha", 1)](auto x) { return x < 0 ? alpha * std::expm1(x / alpha) : x; };
};

static Status infer(InferContext& context) {
  if (context.attributes.get_float("alpha", 1) == 0) return context.fail("alpha must not be 0");
  return infer_same(context);
}

extern const OpDef celu_op = unary_op("Celu", infer, evaluate_unary_with_attributes<kCompute>);

}  // namespace hussar
