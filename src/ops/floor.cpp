// Floor: the largest integer that is not above x.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::floor(x); };

extern const OpDef floor_op = unary_op("Floor", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
