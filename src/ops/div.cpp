// Div: a / b with broadcasting; integers truncate towards zero.
#include "ops/arithmetic.h"
#include "ops/elementwise.h"

namespace hussar {

static std::optional<Dim> divide(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) {
    bool undefined = b.value() == 0 || (b.value() == -1 && a.value() == std::numeric_limits<int64_t>::min());
    return undefined ? std::nullopt : std::optional<Dim>(a.value() / b.value());
  }
  // Rounding down and rounding towards zero agree where nothing is negative.
  if (!known_at_least(a, 0) || !known_at_least(b, 1)) return std::nullopt;
  return floor_div(a, b);
}

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_broadcast(context));
  infer_elements(context, divide);
  return {};
}

static Status evaluate(EvalContext& context) {
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    HUSSAR_TRY(check_divisor<T>(context, context.read<T>(1)));
    bool overflow = false;
    map_binary<T, T>(context, [&](T a, T b) {
      if constexpr (std::is_same_v<T, int64_t>) {
        if (b == -1 && a == std::numeric_limits<T>::min()) {
          overflow = true;
          return a;
        }
      }
      return a / b;
    });
    if (overflow) return context.fail("the integer division of {} by -1 overflows", std::numeric_limits<T>::min());
    return {};
  });
}

extern const OpDef div_op = binary_op("Div", infer, evaluate);

}  // namespace hussar
