// Softsign: x / (1 + |x|).
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return x / (1 + std::abs(x)); };

extern const OpDef softsign_op = unary_op("Softsign", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
