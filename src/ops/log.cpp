// Log: the natural logarithm.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::log(x); };

extern const OpDef log_op = unary_op("Log", infer_same, evaluate_unary_floating<kCompute>);

}  // namespace hussar
