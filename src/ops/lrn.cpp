// LRN: x / (bias + alpha / size * sum of squares over `size` neighbouring channels)^beta.
#include "ops/axis.h"
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  if (context.attributes.get_int("size", 0) < 1)
    return context.fail("size is {}", context.attributes.get_int("size", 0));
  if (context.rank(0) >= 0 && context.rank(0) < 2)
    return context.fail("x has rank {}, at least 2 is needed", context.rank(0));
  return infer_same(context);
}

static Status evaluate(EvalContext& context) {
  const Attributes& attributes = context.attributes;
  int64_t size = attributes.get_int("size", 1);
  double alpha = attributes.get_float("alpha", 1e-4F), beta = attributes.get_float("beta", 0.75F);
  double bias = attributes.get_float("bias", 1);
  auto x = context.read<double>(0);
  auto y = context.write<double>();
  AxisSplit split = split_at(context.shape(0), 1);
  int64_t before = std::min((size - 1) / 2, split.length), after = std::min(size - 1 - (size - 1) / 2, split.length);
  for_each_line(split, [&](int64_t first) {
    for (int64_t c = 0; c < split.length; ++c) {
      double sum = 0;
      for (int64_t k = std::max<int64_t>(c - before, 0); k <= std::min(c + after, split.length - 1); ++k) {
        sum += x[first + k * split.inner] * x[first + k * split.inner];
      }
      double base = bias + alpha / static_cast<double>(size) * sum;
      y[first + c * split.inner] = x[first + c * split.inner] / std::pow(base, beta);
    }
  });
  return {};
}

extern const OpDef lrn_op = {.name = "LRN", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
