// Coordinates and interpolation weights of Resize.
#include "ops/resize.h"

namespace hussar {

Result<ResizeMode> read_resize_mode(const Node& node) {
  ResizeMode mode;
  std::string interpolation = node.attributes.get_string("mode", "nearest");
  if (interpolation == "linear")
    mode.interpolation = ResizeMode::Interpolation::kLinear;
  else if (interpolation == "cubic")
    mode.interpolation = ResizeMode::Interpolation::kCubic;
  else
    HUSSAR_CHECK(interpolation == "nearest", ErrorCode::kInvalidModel, "{}: unknown mode '{}'", describe(node),
                 interpolation);
  mode.coordinates = node.attributes.get_string("coordinate_transformation_mode", "half_pixel");
  bool known = false;
  for (const char* name : {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
                           "tf_crop_and_resize", "tf_half_pixel_for_nn"}) {
    known = known || mode.coordinates == name;
  }
  HUSSAR_CHECK(known, ErrorCode::kInvalidModel, "{}: unknown coordinate_transformation_mode '{}'", describe(node),
               mode.coordinates);
  mode.nearest = node.attributes.get_string("nearest_mode", "round_prefer_floor");
  known = false;
  for (const char* name : {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"})
    known = known || mode.nearest == name;
  HUSSAR_CHECK(known, ErrorCode::kInvalidModel, "{}: unknown nearest_mode '{}'", describe(node), mode.nearest);
  mode.exclude_outside = node.attributes.get_int("exclude_outside", 0) != 0;
  mode.antialias = node.attributes.get_int("antialias", 0) != 0;
  mode.cubic_a = node.attributes.get_float("cubic_coeff_a", -0.75F);
  return mode;
}

namespace {

double original_coordinate(const std::string& mode, const ResizeAxis& axis, int64_t position) {
  auto x = static_cast<double>(position), input = static_cast<double>(axis.input),
       output = static_cast<double>(axis.output);
  if (mode == "asymmetric") return x / axis.scale;
  if (mode == "align_corners") {
    double extent = axis.scale * input;
    return extent == 1 ? 0 : x * (input - 1) / (extent - 1);
  }
  if (mode == "tf_crop_and_resize") {
    double span = (axis.roi_end - axis.roi_begin) * (input - 1);
    return axis.roi_begin * (input - 1) + (axis.output > 1 ? x * span / (output - 1) : span / 2);
  }
  if (mode == "pytorch_half_pixel" && axis.output <= 1) return 0;
  if (mode == "tf_half_pixel_for_nn") return (x + 0.5) / axis.scale;  // opsets 11 and 12
  double centre = (x + 0.5) / axis.scale - 0.5;
  if (mode != "half_pixel_symmetric") return centre;
  return input / 2 * (1 - output / (axis.scale * input)) + centre;
}

int64_t nearest_index(const std::string& mode, double x) {
  if (mode == "round_prefer_floor") return static_cast<int64_t>(std::ceil(x - 0.5));
  if (mode == "round_prefer_ceil") return static_cast<int64_t>(std::floor(x + 0.5));
  return static_cast<int64_t>(mode == "floor" ? std::floor(x) : std::ceil(x));
}

// Keys' cubic kernel at a distance.
double cubic_weight(double distance, double a) {
  double d = std::abs(distance);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

}  // namespace

ResizeTaps resize_taps(const ResizeMode& mode, const ResizeAxis& axis, int64_t position) {
  ResizeTaps taps;
  double x = original_coordinate(mode.coordinates, axis, position);
  auto last = static_cast<double>(axis.input - 1);
  taps.outside = mode.coordinates == "tf_crop_and_resize" && !(x >= 0 && x <= last);
  // Far outside all coordinates read the edge; also keeps NaN and huge values out of integers.
  x = !(x > -8) ? -8 : std::min(x, last + 8);
  auto clamped = [&](int64_t index) { return std::clamp<int64_t>(index, 0, axis.input - 1); };
  if (mode.interpolation == ResizeMode::Interpolation::kNearest) {
    taps.index = {clamped(nearest_index(mode.nearest, x))};
    taps.weight = {1};
    return taps;
  }
  bool linear = mode.interpolation == ResizeMode::Interpolation::kLinear;
  // Antialiasing stretches the kernel when scaling down.
  double stretch = mode.antialias ? std::min(axis.scale, 1.0) : 1;
  auto begin = static_cast<int64_t>(std::floor((linear ? -1 : -2) / stretch) + 1);
  auto base = static_cast<int64_t>(std::ceil(x)) - 1;
  double sum = 0;
  for (int64_t i = begin; i <= 1 - begin; ++i) {
    double distance = (static_cast<double>(base + i) - x) * stretch;
    double weight = linear ? std::max(1 - std::abs(distance), 0.0) : cubic_weight(distance, mode.cubic_a);
    bool inside = base + i >= 0 && base + i < axis.input;
    if (mode.exclude_outside && !inside) weight = 0;
    taps.index.push_back(clamped(base + i));
    taps.weight.push_back(weight);
    sum += weight;
  }
  bool normalise = (mode.exclude_outside || mode.antialias) && sum != 0;
  for (double& weight : taps.weight) weight = normalise ? weight / sum : weight;
  return taps;
}

}  // namespace hussar
