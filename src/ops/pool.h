// Pooling shared by AveragePool, MaxPool, LpPool and their global forms.
#pragma once
#include "ops/elementwise.h"
#include "ops/window.h"

namespace hussar {

// All outputs of a pool: output 0 has the dtype of the input, output 1 (indices) is int64.
Status infer_pool(InferContext& context);
// The same with another dtype of output 0.
Status infer_pool_to(InferContext& context, DType dtype);
// The window of a pool node, its padding resolved for input 0.
Result<Window> pool_window(const EvalContext& context);
// Whether sums of bytes over the windows of an AveragePool fit 32 bits.
bool fits_average_bytes(const Attributes& attributes);
// Output 0: [N][C][1]..[1].
Status infer_global_pool(InferContext& context);

// Pools every plane: y = combine(x plane, offsets of the taps inside, taps inside the input or its padding). T is the
// type that the elements are computed in.
template <class T, class Combine>
Status evaluate_pool(EvalContext& context, Combine&& combine) {
  const Shape& shape = context.shape(0);
  Window window = HUSSAR_TRY(pool_window(context));
  auto x = context.read<T>(0);
  auto y = context.write<T>();
  Shape input = spatial_shape(shape), output = spatial_shape(context.output().shape());
  int64_t planes = shape[0] * shape[1], x_plane = input.elements(), y_plane = output.elements();
  for_each_window(window, input, output, [&](int64_t at, const std::vector<int64_t>& offsets, int64_t padded_count) {
    for (int64_t plane = 0; plane < planes; ++plane) {
      y[plane * y_plane + at] = combine(x.data() + plane * x_plane, offsets, padded_count);
    }
  });
  return {};
}

// Pools whole planes: y = combine(x plane, elements in it).
template <class T, class Combine>
Status evaluate_global_pool(EvalContext& context, Combine&& combine) {
  auto x = context.read<T>(0);
  auto y = context.write<T>();
  int64_t size = spatial_shape(context.shape(0)).elements();
  for (int64_t plane = 0; plane < y.size(); ++plane) y[plane] = combine(x.data() + plane * size, size);
  return {};
}

}  // namespace hussar
