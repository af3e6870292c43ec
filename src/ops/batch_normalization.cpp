// BatchNormalization: (x - mean) / sqrt(var + epsilon) * scale + bias per channel. In training mode the statistics are
// those of the batch, and the running ones are updated.
#include "ops/axis.h"
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  for (size_t i = 1; i <= 4; ++i) {
    if (context.rank(i) >= 0 && context.rank(i) != 1) return context.fail("input {} must have rank 1", i);
    if (context.rank(0) == 0 || context.dims(0) == nullptr || context.dims(i) == nullptr) continue;
    Dim channels = context.rank(0) > 1 ? (*context.dims(0))[1] : Dim(1);
    const Dim& count = (*context.dims(i))[0];
    if (channels.is_constant() && count.is_constant() && !(channels == count)) {
      return context.fail("input {} has {} elements for {} channels", i, count.value(), channels.value());
    }
  }
  if (context.rank(0) == 0) return context.fail("x must have a channel axis");
  for (size_t i = 1; i < context.output_count(); ++i) {
    context.outputs[i].dtype = context.dtype(i + 2);
    context.outputs[i].dims = context.info(i + 2).dims;
  }
  if (context.output_count() > 1 && context.attributes.get_int("training_mode", 0) == 0) {
    return context.fail("running statistics are outputs of training mode only");
  }
  return {};
}

static Status evaluate(EvalContext& context) {
  double epsilon = context.attributes.get_float("epsilon", 1e-5F);
  double momentum = context.attributes.get_float("momentum", 0.9F);
  bool training = context.attributes.get_int("training_mode", 0) != 0;
  auto x = context.read<double>(0);
  auto scale = context.read<double>(1), bias = context.read<double>(2);
  auto mean = context.read<double>(3), variance = context.read<double>(4);
  auto y = context.write<double>();
  const Shape& shape = context.shape(0);
  AxisSplit split = shape.rank() > 1 ? split_at(shape, 1) : AxisSplit{shape[0], 1, 1};
  std::vector<double> new_mean(mean.begin(), mean.end()), new_variance(variance.begin(), variance.end());
  for (int64_t c = 0; c < split.length; ++c) {
    auto each = [&](auto&& visit) {
      for (int64_t outer = 0; outer < split.outer; ++outer) {
        for (int64_t i = 0; i < split.inner; ++i) visit((outer * split.length + c) * split.inner + i);
      }
    };
    double m = mean[c], v = variance[c];
    if (training) {
      auto count = static_cast<double>(split.outer * split.inner);
      m = v = 0;
      each([&](int64_t i) { m += x[i] / count; });
      each([&](int64_t i) { v += (x[i] - m) * (x[i] - m) / count; });
      new_mean[c] = mean[c] * momentum + m * (1 - momentum);
      new_variance[c] = variance[c] * momentum + v * (1 - momentum);
    }
    double factor = scale[c] / std::sqrt(v + epsilon);
    each([&](int64_t i) { y[i] = (x[i] - m) * factor + bias[c]; });
  }
  if (context.wants(1)) store_elements<double>(context.output(1), 0, context.output(1).elements(), new_mean.data());
  if (context.wants(2)) store_elements<double>(context.output(2), 0, context.output(2).elements(), new_variance.data());
  return {};
}

extern const OpDef batch_normalization_op = {.name = "BatchNormalization",
                                             .min_inputs = 5,
                                             .max_inputs = 5,
                                             .max_outputs = 3,
                                             .infer = infer,
                                             .evaluate = evaluate};

}  // namespace hussar
