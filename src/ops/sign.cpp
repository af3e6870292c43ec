// Sign: -1, 0 or 1; NaN stays NaN.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) {
  using T = decltype(x);
  if (x > T(0)) return T(1);
  return x < T(0) ? static_cast<T>(-1) : x;
};

extern const OpDef sign_op = unary_op("Sign", infer_same, evaluate_unary<kCompute>);

}  // namespace hussar
