// Selu: gamma * x for x > 0, gamma * alpha * (exp(x) - 1) below.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](const Attributes& attributes) {
  return [alpha = attributes.get_float("alpha", 1.67326319217681884765625F),
          gamma = attributes.get_float("gamma", 1.05070102214813232421875F)](auto x) {
    return x <= 0 ? gamma * (alpha * std::expm1(x)) : gamma * x;
  };
};

extern const OpDef selu_op = unary_op("Selu", infer_same, evaluate_unary_with_attributes<kCompute>);

}  // namespace hussar
