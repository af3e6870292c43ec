// Acosh: the inverse of the hyperbolic cosine.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::acosh(x); };

extern const OpDef acosh_op = unary_op("Acosh", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
