// Xor: the logical operation on booleans, with broadcasting.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto a, auto b) { return (a != 0) != (b != 0); };

extern const OpDef xor_op = binary_op("Xor", infer_broadcast_bool, evaluate_predicate<kCompute>, kCommutative);

}  // namespace hussar
