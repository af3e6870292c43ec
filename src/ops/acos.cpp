// Acos: the inverse of the cosine.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::acos(x); };

extern const OpDef acos_op = unary_op("Acos", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
