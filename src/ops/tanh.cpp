// Tanh: the hyperbolic tangent.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::tanh(x); };

extern const OpDef tanh_op = unary_op("Tanh", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
