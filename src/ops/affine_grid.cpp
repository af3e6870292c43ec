// AffineGrid: the sampling positions of an affine transform, theta [N][2][3] for a size of [N, C, H, W] or [N][3][4]
// for [N, C, D, H, W], in the form that GridSample reads.
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  auto size = context.elements(1);
  if (!size) return context.set_unknown(0, context.dtype(0)), Status();
  if (size->size() != 4 && size->size() != 5)
    return context.fail("size has {} elements instead of 4 or 5", size->size());
  auto spatial = static_cast<int64_t>(size->size()) - 2;
  if (const Dims* theta = context.dims(0)) {
    auto differ = [](const Dim& a, const Dim& b) { return a.is_constant() && b.is_constant() && !(a == b); };
    bool fits = theta->size() == 3 && !differ((*theta)[0], (*size)[0]) && !differ((*theta)[1], Dim(spatial)) &&
                !differ((*theta)[2], Dim(spatial + 1));
    if (!fits) return context.fail("theta of shape {} for a size of {}", to_string(*theta), to_string(*size));
  }
  Dims output = {(*size)[0]};
  output.insert(output.end(), size->begin() + 2, size->end());
  for (const Dim& dim : output) {
    if (dim.is_constant() && dim.value() < 0) return context.fail("size contains {}", dim.value());
  }
  output.push_back(Dim(spatial));
  context.set(0, context.dtype(0), std::move(output));
  return {};
}

static Status evaluate(EvalContext& context) {
  if (!context.output().valid()) return context.fail("size is malformed");
  bool align = context.attributes.get_int("align_corners", 0) != 0;
  Shape shape = context.output().shape();
  int spatial = shape.rank() - 2;
  auto theta = context.read<double>(0);
  auto y = context.write<double>();
  // The pixel centres, from -1 to 1 along an axis.
  auto coordinate = [&](int64_t index, int64_t size) {
    auto i = static_cast<double>(index), n = static_cast<double>(size);
    if (!align) return (2 * i + 1) / n - 1;
    return size > 1 ? 2 * i / (n - 1) - 1 : -1.0;
  };
  std::vector<double> point(static_cast<size_t>(spatial) + 1, 1);
  for (int64_t i = 0; i < y.size() / spatial; ++i) {
    int64_t rest = i;
    for (int axis = spatial; axis > 0; --axis) {
      point[spatial - axis] = coordinate(rest % shape[axis], shape[axis]);
      rest /= shape[axis];
    }
    for (int row = 0; row < spatial; ++row) {
      double sum = 0;
      for (int k = 0; k <= spatial; ++k) sum += theta[(rest * spatial + row) * (spatial + 1) + k] * point[k];
      y[i * spatial + row] = sum;
    }
  }
  return {};
}

extern const OpDef affine_grid_op = {
    .name = "AffineGrid", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
