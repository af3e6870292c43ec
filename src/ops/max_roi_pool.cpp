// MaxRoiPool: the maximum over each cell of a grid laid over every region of interest. A region is
// [image, x1, y1, x2, y2]; its corners are scaled and rounded, both ends included.
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  Ints pooled = context.attributes.get_ints("pooled_shape");
  if (pooled.size() != 2 || std::min(pooled[0], pooled[1]) < 1 || std::max(pooled[0], pooled[1]) > 1 << 16) {
    return context.fail("pooled_shape must be two positive numbers");
  }
  if (context.rank(0) >= 0 && context.rank(0) != 4) return context.fail("x must have rank 4");
  if (context.rank(1) >= 0 &&
      (context.rank(1) != 2 || ((*context.dims(1))[1].is_constant() && !(*context.dims(1))[1].is(5)))) {
    return context.fail("rois must have the shape [count][5]");
  }
  Dim count = context.dims(1) != nullptr ? (*context.dims(1))[0] : context.fresh();
  Dim channels = context.dims(0) != nullptr ? (*context.dims(0))[1] : context.fresh();
  context.set(0, context.dtype(0), {count, channels, pooled[0], pooled[1]});
  return {};
}

// The cells [begin, end) of pooled index `index` along one axis.
static std::pair<int64_t, int64_t> cell(int64_t index, int64_t pooled, double first, double last, int64_t size) {
  double step = std::max(last - first + 1, 1.0) / static_cast<double>(pooled);
  double begin = std::floor(static_cast<double>(index) * step) + first;
  double end = std::ceil(static_cast<double>(index + 1) * step) + first;
  auto limit = static_cast<double>(size);
  return {static_cast<int64_t>(std::clamp(begin, 0.0, limit)), static_cast<int64_t>(std::clamp(end, 0.0, limit))};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  const Shape& pooled = context.output().shape();
  double scale = context.attributes.get_float("spatial_scale", 1);
  auto x = context.read<double>(0), rois = context.read<double>(1);
  auto y = context.write<double>();
  int64_t height = shape[2], width = shape[3], at = 0;
  for (int64_t r = 0; r < pooled[0]; ++r) {
    const double* roi = rois.data() + r * 5;
    for (int i = 0; i < 5; ++i) {
      if (!std::isfinite(roi[i])) return context.fail("a region is not finite");
    }
    if (roi[0] < 0 || roi[0] >= static_cast<double>(shape[0]))
      return context.fail("region {} is in image {} of {}", r, roi[0], shape[0]);
    auto image = static_cast<int64_t>(roi[0]);
    double x1 = std::round(roi[1] * scale), y1 = std::round(roi[2] * scale);
    double x2 = std::round(roi[3] * scale), y2 = std::round(roi[4] * scale);
    for (int64_t c = 0; c < pooled[1]; ++c) {
      const double* plane = x.data() + (image * shape[1] + c) * height * width;
      for (int64_t i = 0; i < pooled[2]; ++i) {
        auto [top, bottom] = cell(i, pooled[2], y1, y2, height);
        for (int64_t j = 0; j < pooled[3]; ++j, ++at) {
          auto [left, right] = cell(j, pooled[3], x1, x2, width);
          bool empty = top >= bottom || left >= right;
          double best = empty ? 0 : plane[top * width + left];
          for (int64_t row = top; row < bottom; ++row) {
            for (int64_t column = left; column < right; ++column) best = std::max(best, plane[row * width + column]);
          }
          y[at] = best;
        }
      }
    }
  }
  return {};
}

extern const OpDef max_roi_pool_op = {
    .name = "MaxRoiPool", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
