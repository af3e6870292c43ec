// CumSum: sums along `axis` up to each element (without it when exclusive), from the end when reverse.
#include "ops/arguments.h"
#include "ops/arithmetic.h"
#include "ops/axis.h"
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  auto axis = HUSSAR_TRY(integers_argument(context, 1));
  if (!axis || context.rank(0) < 0) return {};
  if (axis->size() != 1) return context.fail("axis must be one number");
  if (context.rank(0) == 0) return context.fail("a scalar has no axis");
  HUSSAR_TRY(context.normalize_axis(axis->front(), context.rank(0)));
  return {};
}

static Status evaluate(EvalContext& context) {
  int rank = context.shape(0).rank();
  Ints axis = context.integers(1);
  if (axis.size() != 1 || axis[0] < -rank || axis[0] >= rank) return context.fail("the axis is out of range");
  AxisSplit split = split_at(context.shape(0), axis[0]);
  bool exclusive = context.attributes.get_int("exclusive", 0) != 0;
  bool reverse = context.attributes.get_int("reverse", 0) != 0;
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    auto y = context.write<T>();
    for (int64_t line = 0; line < split.outer * split.inner; ++line) {
      int64_t base = line / split.inner * split.length * split.inner + line % split.inner;
      Accumulator<T> sum = 0;
      for (int64_t i = 0; i < split.length; ++i) {
        int64_t at = base + (reverse ? split.length - 1 - i : i) * split.inner;
        auto value = static_cast<Accumulator<T>>(x[at]);
        y[at] = static_cast<T>(exclusive ? sum : sum + value);
        sum += value;
      }
    }
    return {};
  });
}

extern const OpDef cum_sum_op = {
    .name = "CumSum", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
