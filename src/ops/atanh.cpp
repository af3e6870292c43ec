// Atanh: the inverse of the hyperbolic tangent.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::atanh(x); };

extern const OpDef atanh_op = unary_op("Atanh", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
