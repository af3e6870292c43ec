// Equal: a == b with broadcasting.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto a, auto b) { return a == b; };

static std::optional<Dim> known_equality(const Dim& a, const Dim& b) {
  if (a == b) return Dim(1);
  if (a.is_constant() && b.is_constant()) return Dim(0);
  bool differ = known_at_least(a - b, 1) || known_at_least(b - a, 1);
  return differ ? std::optional<Dim>(Dim(0)) : std::nullopt;
}

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_broadcast_bool(context));
  infer_elements(context, known_equality);
  return {};
}

extern const OpDef equal_op = binary_op("Equal", infer, evaluate_predicate<kCompute>, kCommutative);

}  // namespace hussar
