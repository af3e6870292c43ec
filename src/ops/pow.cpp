// Pow: a to the power b with broadcasting. The output has the dtype of a; b may have another one.
#include "ops/arithmetic.h"
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  auto dims = HUSSAR_TRY(context.broadcast({0, 1}));
  if (dims)
    context.set(0, context.dtype(0), std::move(*dims));
  else
    context.set_unknown(0, context.dtype(0));
  return {};
}

// Integer powers by squaring, wrapping on overflow. Negative exponents give the truncated reciprocal.
static int64_t integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 1) return 1;
    if (base == -1) return exponent % 2 == 0 ? 1 : -1;
    return 0;
  }
  int64_t result = 1;
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 != 0) result = wrapping_multiply(result, base);
    base = wrapping_multiply(base, base);
  }
  return result;
}

static Status evaluate(EvalContext& context) {
  bool integral = !is_floating(context.input(0).dtype()) && !is_floating(context.input(1).dtype());
  if (integral)
    map_binary<int64_t, int64_t>(context, integer_power);
  else
    map_binary<double, double>(context, [](double a, double b) { return std::pow(a, b); });
  return {};
}

extern const OpDef pow_op = binary_op("Pow", infer, evaluate);

}  // namespace hussar
