// hussar.SoftmaxMean(x, w): the mean of w by the softmax of x along `axis`, which is left out of y unless `keepdims` is
// 1. w has as many elements as the axis. Detectors read the side of a box from such a distribution.
//
//   y[o, i] = sum over k of softmax(x[o, :, i])[k] * w[k]
#include "ops/axis.h"
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  context.set_unknown(0, context.dtype(0));
  const Dims* x = context.dims(0);
  if (x == nullptr) return {};
  const int rank = static_cast<int>(x->size());
  if (rank == 0) return context.fail("takes no scalars");
  const auto axis =
      static_cast<size_t>(HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", -1), rank)));
  const Dims* w = context.dims(1);
  if (w != nullptr &&
      (w->size() != 1 || ((*w)[0].is_constant() && (*x)[axis].is_constant() && !((*w)[0] == (*x)[axis]))))
    return context.fail("weights of shape {} for an axis of {}", to_string(*w), (*x)[axis].to_string());
  Dims y = *x;
  if (context.attributes.get_int("keepdims", 0) != 0)
    y[axis] = Dim(1);
  else
    y.erase(y.begin() + static_cast<std::ptrdiff_t>(axis));
  context.set(0, context.dtype(0), std::move(y));
  return {};
}

static Status evaluate(EvalContext& context) {
  const AxisSplit split = split_at(context.shape(0), context.attributes.get_int("axis", -1));
  if (context.shape(1).elements() != split.length)
    return context.fail("{} weights for an axis of {}", context.shape(1).elements(), split.length);
  return dispatch_floating(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0), w = context.read<T>(1);
    auto y = context.write<T>();
    for (int64_t outer = 0; outer < split.outer; ++outer) {
      for (int64_t inner = 0; inner < split.inner; ++inner) {
        const T* in = x.data() + outer * split.length * split.inner + inner;
        T largest = -std::numeric_limits<T>::infinity(), sum = 0, mean = 0;
        for (int64_t i = 0; i < split.length; ++i) largest = std::max(largest, in[i * split.inner]);
        for (int64_t i = 0; i < split.length; ++i) {
          const T power = std::exp(in[i * split.inner] - largest);
          sum += power;
          mean += power * w[static_cast<size_t>(i)];
        }
        y[static_cast<size_t>(outer * split.inner + inner)] = mean / sum;
      }
    }
    return {};
  });
}

extern const OpDef hussar_softmax_mean_op = {
    .name = "hussar.SoftmaxMean", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
