// ArgMax and ArgMin: the index along `axis` of the element that is better than all others.
#pragma once
#include "ops/axis.h"
#include "ops/evaluate.h"

namespace hussar {

Status infer_arg_reduce(InferContext& context);

// Better(a, b): whether a beats b. Ties go to the first index, or the last with select_last_index.
template <auto Better>
Status evaluate_arg_reduce(EvalContext& context) {
  AxisSplit split = split_at(context.shape(0), context.attributes.get_int("axis", 0));
  bool last = context.attributes.get_int("select_last_index", 0) != 0;
  if (split.length == 0 && context.output().elements() > 0) return context.fail("there are no elements to choose from");
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    auto y = context.write<int64_t>();
    for (int64_t i = 0; i < y.size(); ++i) {
      const T* values = x.data() + i / split.inner * split.length * split.inner + i % split.inner;
      int64_t best = 0;
      for (int64_t k = 1; k < split.length; ++k) {
        T candidate = values[k * split.inner];
        T champion = values[best * split.inner];
        if (Better(candidate, champion) || (last && candidate == champion)) best = k;
      }
      y[i] = best;
    }
    return {};
  });
}

}  // namespace hussar
