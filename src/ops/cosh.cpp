// Cosh: the hyperbolic cosine.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::cosh(x); };

extern const OpDef cosh_op = unary_op("Cosh", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
