// Neg: -x.
#include "ops/arithmetic.h"
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) {
  if constexpr (std::is_floating_point_v<decltype(x)>)
    return -x;
  else
    return wrapping_subtract(decltype(x)(0), x);
};

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  if (auto elements = context.elements(0)) {
    for (Dim& element : *elements) element = Dim(0) - element;
    context.set_elements(0, std::move(*elements));
  }
  return {};
}

extern const OpDef neg_op = unary_op("Neg", infer, evaluate_unary<kCompute>);

}  // namespace hussar
