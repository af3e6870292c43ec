// IsInf: whether x is infinite, with a sign that the attributes detect_negative and detect_positive admit.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](const Attributes& attributes) {
  bool negative = attributes.get_int("detect_negative", 1) != 0;
  bool positive = attributes.get_int("detect_positive", 1) != 0;
  return [negative, positive](auto x) { return std::isinf(x) && (x < 0 ? negative : positive); };
};

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  context.outputs[0].dtype = DType::kBool;
  return {};
}

extern const OpDef is_inf_op = unary_op("IsInf", infer, evaluate_unary_with_attributes<kCompute>);

}  // namespace hussar
