// HardSigmoid: clip(alpha * x + beta, 0, 1); NaN stays NaN.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](const Attributes& attributes) {
  return [alpha = attributes.get_float("alpha", 0.2F), beta = attributes.get_float("beta", 0.5F)](auto x) {
    return std::clamp<decltype(x)>(alpha * x + beta, 0, 1);
  };
};

extern const OpDef hard_sigmoid_op = unary_op("HardSigmoid", infer_same, evaluate_unary_with_attributes<kCompute>);

}  // namespace hussar
