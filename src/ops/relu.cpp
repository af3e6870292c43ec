// Relu: max(x, 0); NaN stays NaN.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return x < 0 ? decltype(x)(0) : x; };

extern const OpDef relu_op = unary_op("Relu", infer_same, evaluate_unary<kCompute>);

}  // namespace hussar
