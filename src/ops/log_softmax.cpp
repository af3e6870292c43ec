// LogSoftmax: x - max - log(sum(exp(x - max))) along one axis. Before opset 13 it flattened to two dimensions first.
#include "ops/axis.h"
#include "ops/elementwise.h"

namespace hussar {

static Status upgrade(UpgradeContext& context) { return upgrade_flattening_softmax(context, 13); }

static Status evaluate(EvalContext& context) {
  auto x = context.read<double>(0);
  auto y = context.write<double>();
  AxisSplit split = split_at(context.shape(0), context.attributes.get_int("axis", -1));
  for_each_line(split, [&](int64_t first) {
    double largest = -std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < split.length; ++i) largest = std::max(largest, x[first + i * split.inner]);
    double sum = 0;
    for (int64_t i = 0; i < split.length; ++i) sum += std::exp(x[first + i * split.inner] - largest);
    double shift = largest + std::log(sum);
    for (int64_t i = 0; i < split.length; ++i) y[first + i * split.inner] = x[first + i * split.inner] - shift;
  });
  return {};
}

extern const OpDef log_softmax_op = {.name = "LogSoftmax",
                                     .min_inputs = 1,
                                     .max_inputs = 1,
                                     .upgrade = upgrade,
                                     .infer = infer_along_axis,
                                     .evaluate = evaluate};

}  // namespace hussar
