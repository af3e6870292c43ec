// Softplus: log(1 + exp(x)), written so that it does not overflow.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return (x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x))); };

extern const OpDef softplus_op = unary_op("Softplus", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
