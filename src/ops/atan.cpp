// Atan: the inverse of the tangent.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::atan(x); };

extern const OpDef atan_op = unary_op("Atan", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
