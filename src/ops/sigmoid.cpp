// Sigmoid: 1 / (1 + exp(-x)), computed so that exp never overflows.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) {
  using T = decltype(x);
  T small = std::exp(-std::fabs(x));
  return x < 0 ? small / (T(1) + small) : T(1) / (T(1) + small);
};

extern const OpDef sigmoid_op = unary_op("Sigmoid", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
