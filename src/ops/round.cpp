// Round: the nearest integer, ties to even.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::nearbyint(x); };

extern const OpDef round_op = unary_op("Round", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
