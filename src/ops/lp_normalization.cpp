// LpNormalization: x divided by its L1 or L2 norm along one axis; a line of zeros becomes NaN.
#include "ops/axis.h"
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  int64_t p = context.attributes.get_int("p", 2);
  if (p != 1 && p != 2) return context.fail("p is {}; 1 and 2 exist", p);
  return infer_along_axis(context);
}

static Status evaluate(EvalContext& context) {
  bool squared = context.attributes.get_int("p", 2) == 2;
  auto x = context.read<double>(0);
  auto y = context.write<double>();
  AxisSplit split = split_at(context.shape(0), context.attributes.get_int("axis", -1));
  for_each_line(split, [&](int64_t first) {
    double norm = 0;
    for (int64_t i = 0; i < split.length; ++i) {
      double value = x[first + i * split.inner];
      norm += squared ? value * value : std::abs(value);
    }
    if (squared) norm = std::sqrt(norm);
    for (int64_t i = 0; i < split.length; ++i) y[first + i * split.inner] = x[first + i * split.inner] / norm;
  });
  return {};
}

extern const OpDef lp_normalization_op = {
    .name = "LpNormalization", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
