// Tan: the tangent of x radians.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::tan(x); };

extern const OpDef tan_op = unary_op("Tan", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
