// Not: logical negation.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x) { return x == 0; };

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  context.outputs[0].dtype = DType::kBool;
  if (auto elements = context.integers(0)) {
    Dims negated;
    for (int64_t element : *elements) negated.push_back(Dim(element == 0 ? 1 : 0));
    context.set_elements(0, std::move(negated));
  }
  return {};
}

extern const OpDef not_op = unary_op("Not", infer, evaluate_unary<kCompute>);

}  // namespace hussar
