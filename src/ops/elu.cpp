// Elu: x for x > 0, alpha * (exp(x) - 1) below.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](const Attributes& attributes) {
  return [alpha = attributes.get_float("alpha", 1)](auto x) { return x < 0 ? alpha * std::expm1(x) : x; };
};

extern const OpDef elu_op = unary_op("Elu", infer_same, evaluate_unary_with_attributes<kCompute>);

}  // namespace hussar
