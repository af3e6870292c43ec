// Hardmax: 1 at the first maximum along one axis, else 0. Before opset 13 it flattened to two dimensions first.
#include "ops/axis.h"
#include "ops/elementwise.h"

namespace hussar {

static Status upgrade(UpgradeContext& context) { return upgrade_flattening_softmax(context, 13); }

static Status evaluate(EvalContext& context) {
  auto x = context.read<double>(0);
  auto y = context.write<double>();
  AxisSplit split = split_at(context.shape(0), context.attributes.get_int("axis", -1));
  for_each_line(split, [&](int64_t first) {
    int64_t best = 0;
    for (int64_t i = 1; i < split.length; ++i) {
      if (x[first + i * split.inner] > x[first + best * split.inner]) best = i;
    }
    for (int64_t i = 0; i < split.length; ++i) y[first + i * split.inner] = i == best ? 1 : 0;
  });
  return {};
}

extern const OpDef hardmax_op = {.name = "Hardmax",
                                 .min_inputs = 1,
                                 .max_inputs = 1,
                                 .upgrade = upgrade,
                                 .infer = infer_along_axis,
                                 .evaluate = evaluate};

}  // namespace hussar
