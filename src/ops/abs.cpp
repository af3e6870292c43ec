// Abs: |x|; the most negative integer stays as it is.
#include "ops/arithmetic.h"
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return absolute(x); };

extern const OpDef abs_op = unary_op("Abs", infer_same, evaluate_unary<kCompute>);

}  // namespace hussar
