// Mish: x * tanh(softplus(x)).
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) {
  // softplus without overflow: max(x, 0) + log(1 + exp(-|x|))
  return x * std::tanh((x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x))));
};

extern const OpDef mish_op = unary_op("Mish", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
