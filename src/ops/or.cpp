// Or: the logical operation on booleans, with broadcasting.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto a, auto b) { return a != 0 || b != 0; };

extern const OpDef or_op = binary_op("Or", infer_broadcast_bool, evaluate_predicate<kCompute>, kCommutative);

}  // namespace hussar
