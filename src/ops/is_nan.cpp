// IsNaN: whether x is not a number.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return std::isnan(x); };

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  context.outputs[0].dtype = DType::kBool;
  return {};
}

extern const OpDef is_nan_op = unary_op("IsNaN", infer, evaluate_unary_floating<kCompute>);

}  // namespace hussar
