// Erf: the Gauss error function.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::erf(x); };

extern const OpDef erf_op = unary_op("Erf", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
