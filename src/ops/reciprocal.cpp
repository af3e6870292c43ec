// Reciprocal: 1 / x.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return decltype(x)(1) / x; };

extern const OpDef reciprocal_op = unary_op("Reciprocal", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
