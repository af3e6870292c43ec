// Exp: e to the power x.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::exp(x); };

extern const OpDef exp_op = unary_op("Exp", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
