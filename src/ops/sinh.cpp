// Sinh: the hyperbolic sine.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::sinh(x); };

extern const OpDef sinh_op = unary_op("Sinh", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
