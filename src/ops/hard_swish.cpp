// HardSwish: x * clip(x / 6 + 1/2, 0, 1).
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) {
  using T = decltype(x);
  return x * std::clamp<T>(x / 6 + T(0.5), 0, 1);
};

extern const OpDef hard_swish_op = unary_op("HardSwish", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
