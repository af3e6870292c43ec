// Normalisations to mean 0 and variance 1.
#include "ops/normalize.h"

namespace hussar {

Status infer_channel_normalization(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  const Dims* x = context.dims(0);
  if (x == nullptr) return {};
  if (x->size() < 2) return context.fail("x has rank {}, at least 2 is needed", x->size());
  for (size_t i = 1; i <= 2; ++i) {
    if (context.dims(i) == nullptr) continue;
    const Dims& dims = *context.dims(i);
    bool fits = dims.size() == 1 && (!dims[0].is_constant() || !(*x)[1].is_constant() || dims[0] == (*x)[1]);
    if (!fits) return context.fail("input {} of shape {} for {} channels", i, to_string(dims), (*x)[1].to_string());
  }
  return {};
}

Status normalize_groups(EvalContext& context, int64_t count, int64_t length) {
  double epsilon = context.attributes.get_float("epsilon", 1e-5F);
  const Shape& shape = context.shape(0);
  auto x = context.read<double>(0), scale = context.read<double>(1), bias = context.read<double>(2);
  auto y = context.write<double>();
  int64_t plane = shape.elements(2, shape.rank());
  auto size = static_cast<double>(length);
  for (int64_t run = 0; length > 0 && run < count; ++run) {
    const double* in = x.data() + run * length;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < length; ++i) mean += in[i] / size;
    for (int64_t i = 0; i < length; ++i) variance += (in[i] - mean) * (in[i] - mean) / size;
    for (int64_t i = 0; i < length; ++i) {
      int64_t channel = (run * length + i) / plane % shape[1];
      y[run * length + i] = (in[i] - mean) / std::sqrt(variance + epsilon) * scale[channel] + bias[channel];
    }
  }
  return {};
}

Status infer_trailing_normalization(InferContext& context, DType dtype) {
  const Dims* x = context.dims(0);
  if (x == nullptr) {
    for (size_t i = 0; i < context.output_count(); ++i) context.set_unknown(i, i == 0 ? dtype : DType::kFloat32);
    return {};
  }
  if (x->empty()) return context.fail("x is a scalar");
  int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", -1), context.rank(0)));
  Dims normalized(x->begin() + axis, x->end());
  for (size_t i = 1; i <= 2; ++i) {
    if (context.dims(i) == nullptr) continue;
    Dims together = HUSSAR_TRY(context.broadcast_dims(normalized, *context.dims(i)));
    bool fits = together.size() == normalized.size();
    for (size_t d = 0; fits && d < normalized.size(); ++d) {
      fits = !together[d].is_constant() || !normalized[d].is_constant() || together[d] == normalized[d];
    }
    if (!fits)
      return context.fail("input {} of shape {} cannot be broadcast to {}", i, to_string(*context.dims(i)),
                          to_string(normalized));
  }
  Dims reduced = *x;
  std::fill(reduced.begin() + axis, reduced.end(), Dim(1));
  context.set(1, DType::kFloat32, reduced);
  context.set(2, DType::kFloat32, reduced);
  context.set(0, dtype, *x);
  return {};
}

Status normalize_trailing(EvalContext& context, bool center) {
  double epsilon = context.attributes.get_float("epsilon", 1e-5F);
  const Shape& shape = context.shape(0);
  int64_t axis = context.attributes.get_int("axis", -1);
  auto at = static_cast<int>(axis < 0 ? axis + shape.rank() : axis);
  Shape inner(shape.dims().subspan(static_cast<size_t>(at)));
  int64_t outer = shape.elements(0, at), length = inner.elements();
  auto size = static_cast<double>(length);
  // Scale and bias, repeated to the normalised shape.
  auto spread = [&](size_t input, double otherwise) {
    std::vector<double> values(static_cast<size_t>(length), otherwise);
    if (!context.has(input)) return values;
    auto given = context.read<double>(input);
    for_each_index(inner, {broadcast_strides(context.shape(input), inner)},
                   [&](int64_t i, const int64_t* offset) { values[i] = given[*offset]; });
    return values;
  };
  std::vector<double> scale = spread(1, 1), bias = spread(2, 0);
  std::vector<double> means(static_cast<size_t>(outer), 0), inverses(static_cast<size_t>(outer), 0);
  auto x = context.read<double>(0);
  auto y = context.write<double>();
  for (int64_t run = 0; run < outer; ++run) {
    const double* in = x.data() + run * length;
    double mean = 0, variance = 0;
    for (int64_t i = 0; center && i < length; ++i) mean += in[i] / size;
    for (int64_t i = 0; i < length; ++i) variance += (in[i] - mean) * (in[i] - mean) / size;
    double inverse = 1 / std::sqrt(variance + epsilon);
    for (int64_t i = 0; i < length; ++i) y[run * length + i] = (in[i] - mean) * inverse * scale[i] + bias[i];
    means[run] = mean;
    inverses[run] = inverse;
  }
  if (context.output_count() > 1 && context.wants(1)) store_elements<double>(context.output(1), 0, outer, means.data());
  if (context.output_count() > 2 && context.wants(2))
    store_elements<double>(context.output(2), 0, outer, inverses.data());
  return {};
}

}  // namespace hussar
