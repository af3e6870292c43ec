// Sin: the sine of x radians.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::sin(x); };

extern const OpDef sin_op = unary_op("Sin", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
