// Sqrt: the square root; NaN below zero.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::sqrt(x); };

extern const OpDef sqrt_op = unary_op("Sqrt", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
