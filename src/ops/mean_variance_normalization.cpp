// MeanVarianceNormalization: (x - mean) / (sqrt(mean(x^2) - mean^2) + 1e-9) over `axes`.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  Value* x = builder.input(0);
  Value* axes = builder.integers(builder.attributes.get_ints("axes", {0, 2, 3}));
  Value* two = builder.number(2, builder.dtype());
  Value* mean = builder.make("ReduceMean", {x, axes});
  Value* mean_square = builder.make("ReduceMean", {builder.make("Pow", {x, two}), axes});
  Value* variance = builder.make("Sub", {mean_square, builder.make("Pow", {mean, two})});
  Value* deviation = builder.make("Add", {builder.make("Sqrt", {variance}), builder.number(1e-9, builder.dtype())});
  builder.result(0, builder.make("Div", {builder.make("Sub", {x, mean}), deviation}));
  return {};
}

extern const OpDef mean_variance_normalization_op = {
    .name = "MeanVarianceNormalization", .min_inputs = 1, .max_inputs = 1, .expand = expand};

}  // namespace hussar
