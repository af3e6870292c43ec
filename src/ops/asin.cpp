// Asin: the inverse of the sine.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::asin(x); };

extern const OpDef asin_op = unary_op("Asin", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
