// Ceil: the smallest integer that is not below x.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::ceil(x); };

extern const OpDef ceil_op = unary_op("Ceil", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
