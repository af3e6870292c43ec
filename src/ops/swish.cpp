// Swish: x * sigmoid(alpha * x).
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](const Attributes& attributes) {
  return [alpha = attributes.get_float("alpha", 1)](auto x) { return x / (1 + std::exp(-alpha * x)); };
};

extern const OpDef swish_op = unary_op("Swish", infer_same, evaluate_unary_with_attributes<kCompute>);

}  // namespace hussar
