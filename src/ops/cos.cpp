// Cos: the cosine of x radians.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::cos(x); };

extern const OpDef cos_op = unary_op("Cos", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
