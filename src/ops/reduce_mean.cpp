// ReduceMean: the arithmetic mean; integers truncate towards zero.
#include "ops/reduce.h"

namespace hussar {

static Status evaluate(EvalContext& context) {
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    bool empty = std::is_integral_v<T> && context.input(0).elements() == 0 && context.output().elements() > 0;
    if (empty) return context.fail("the mean of no integers is undefined");
    map_reduction<T>(context, [](std::span<const T> values) {
      auto sum = sum_of(values, [](auto x) { return x; });
      // Signed sums are accumulated unsigned so that they wrap; the division needs the sign.
      using Quotient = std::conditional_t<std::is_same_v<T, float>, double, T>;
      return static_cast<T>(static_cast<Quotient>(sum) / static_cast<Quotient>(values.size()));
    });
    return {};
  });
}

extern const OpDef reduce_mean_op = reduce_op("ReduceMean", evaluate);

}  // namespace hussar
