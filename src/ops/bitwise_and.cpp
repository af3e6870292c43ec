// BitwiseAnd: a & b on integers, with broadcasting.
#include "ops/bitwise.h"

namespace hussar {

constexpr auto kCompute = [](uint64_t a, uint64_t b) { return a & b; };

extern const OpDef bitwise_and_op =
    binary_op("BitwiseAnd", infer_broadcast_integers, evaluate_binary_bits<kCompute>, kCommutative);

}  // namespace hussar
