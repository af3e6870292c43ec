// MaxPool: the maximum over a window, and on request its position in the flattened input. With storage_order 1 that
// position counts the spatial axes of each plane in column-major order.
#include "ops/pool.h"

namespace hussar {

// The column-major position in a plane of the row-major one.
static int64_t column_major(int64_t offset, const Shape& plane) {
  int64_t result = 0, stride = plane.elements();
  for (int axis = plane.rank() - 1; axis >= 0; --axis) {
    stride /= plane[axis];
    result += offset % plane[axis] * stride;
    offset /= plane[axis];
  }
  return result;
}

template <class T>
static Status evaluate_as(EvalContext& context) {
  using Limits = std::numeric_limits<T>;
  constexpr T kLowest = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  return evaluate_pool<T>(context, [](const T* x, const std::vector<int64_t>& offsets, int64_t) {
    T best = offsets.empty() ? kLowest : x[offsets[0]];
    for (int64_t offset : offsets)
      best = x[offset] > best || std::isnan(static_cast<double>(x[offset])) ? x[offset] : best;
    return best;
  });
}

static Status find_indices(EvalContext& context) {
  bool by_column = context.attributes.get_int("storage_order", 0) != 0;
  const Shape& shape = context.shape(0);
  Window window = HUSSAR_TRY(pool_window(context));
  auto x = context.read<double>(0);
  auto indices = context.write<int64_t>(1);
  Shape input = spatial_shape(shape), output = spatial_shape(context.output().shape());
  int64_t x_plane = input.elements(), y_plane = output.elements();
  for_each_window(window, input, output, [&](int64_t at, const std::vector<int64_t>& offsets, int64_t) {
    for (int64_t plane = 0; plane < shape[0] * shape[1]; ++plane) {
      if (offsets.empty()) continue;
      const double* data = x.data() + plane * x_plane;
      int64_t best = offsets[0];
      for (int64_t offset : offsets) best = data[offset] > data[best] ? offset : best;
      indices[plane * y_plane + at] = plane * x_plane + (by_column ? column_major(best, input) : best);
    }
  });
  return {};
}

static Status evaluate(EvalContext& context) {
  HUSSAR_TRY(
      dispatch(context.input(0).dtype(), [&](auto tag) { return evaluate_as<typename decltype(tag)::type>(context); }));
  return context.wants(1) ? find_indices(context) : Status();
}

extern const OpDef max_pool_op = {
    .name = "MaxPool", .min_inputs = 1, .max_inputs = 1, .max_outputs = 2, .infer = infer_pool, .evaluate = evaluate};

}  // namespace hussar
