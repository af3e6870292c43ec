// Mod: the remainder of a / b with broadcasting. fmod=0 gives it the sign of b as in Python, fmod=1 that of a as in C.
#include "ops/arithmetic.h"
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_broadcast(context));
  infer_elements(context, [](const Dim& a, const Dim& b) -> std::optional<Dim> {
    if (!known_at_least(a, 0) || !known_at_least(b, 1)) return std::nullopt;
    return mod(a, b);
  });
  return {};
}

template <class T>
static T remainder_of(T a, T b, bool sign_of_dividend) {
  if constexpr (std::is_floating_point_v<T>) {
    T rest = std::fmod(a, b);
    return !sign_of_dividend && rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  } else if constexpr (std::is_same_v<T, int64_t>) {
    if (b == -1) return 0;  // the machine's division traps on the most negative dividend
    T rest = a % b;
    return !sign_of_dividend && rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  } else {
    return a % b;
  }
}

static Status evaluate(EvalContext& context) {
  bool sign_of_dividend = context.attributes.get_int("fmod", 0) != 0;
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    HUSSAR_TRY(check_divisor<T>(context, context.read<T>(1)));
    map_binary<T, T>(context, [&](T a, T b) { return remainder_of(a, b, sign_of_dividend); });
    return {};
  });
}

extern const OpDef mod_op = binary_op("Mod", infer, evaluate);

}  // namespace hussar
