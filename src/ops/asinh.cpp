// Asinh: the inverse of the hyperbolic sine.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::asinh(x); };

extern const OpDef asinh_op = unary_op("Asinh", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
