// LeakyRelu: x for x >= 0, alpha * x below.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](const Attributes& attributes) {
  return [alpha = attributes.get_float("alpha", 0.01F)](auto x) { return x < 0 ? alpha * x : x; };
};

extern const OpDef leaky_relu_op = unary_op("LeakyRelu", infer_same, evaluate_unary_with_attributes<kCompute>);

}  // namespace hussar
