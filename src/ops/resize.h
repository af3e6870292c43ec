// Resize: how output positions along one axis read the input.
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"

namespace hussar {

// The inputs whose weighted sum is the output at one position of an axis.
struct ResizeTaps {
  std::vector<int64_t> index;  // in [0, input)
  std::vector<double> weight;  // sums to 1
  bool outside = false;        // tf_crop_and_resize: beyond the input, where extrapolation_value stands
};

struct ResizeAxis {
  int64_t input = 0, output = 0;
  double scale = 1;                   // output / input before rounding
  double roi_begin = 0, roi_end = 1;  // of the input, for tf_crop_and_resize
};

// The attributes of a Resize node, checked.
struct ResizeMode {
  enum class Interpolation : uint8_t { kNearest, kLinear, kCubic };
  Interpolation interpolation = Interpolation::kNearest;
  std::string coordinates;  // coordinate_transformation_mode
  std::string nearest;      // nearest_mode
  bool exclude_outside = false, antialias = false;
  double cubic_a = -0.75;
};
Result<ResizeMode> read_resize_mode(const Node& node);

ResizeTaps resize_taps(const ResizeMode& mode, const ResizeAxis& axis, int64_t position);

}  // namespace hussar
