// resize: Resize of the spatial axes of [N][C][W] and [N][C][H][W]: nearest for any dtype, linear and cubic in FP32.
// The taps of every output row and column are computed at the start of run(): they may depend on data.
#include "backends/cpu/kernels/resize/resize.h"

#include <cmath>

#include "backends/cpu/kernel_support.h"

namespace hussar {
namespace {

using namespace cpu;

enum class Coordinates : int32_t { kHalfPixel, kHalfPixelSymmetric, kPytorchHalfPixel, kAlignCorners, kAsymmetric };
enum class Nearest : int32_t { kRoundPreferFloor, kRoundPreferCeil, kFloor, kCeil };
constexpr std::string_view kCoordinates[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
                                             "align_corners", "asymmetric"};
constexpr std::string_view kNearest[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};

struct State {
  ResizeArgs args;  // without pointers
  Coordinates coordinates;
  Nearest nearest;
  int32_t taps;  // 1 nearest, 2 linear, 4 cubic
  bool exclude_outside, channels_last;
  double cubic;
  // Where the scales of height and width are among the given ones; -1: the ratio of the extents.
  int32_t row_scale, column_scale;
  int64_t lines;
  int64_t scratch_line;  // floats
  int32_t shares;
};

template <class List>
int place_of(const List& names, std::string_view name) {
  int place = 0;
  for (std::string_view other : names) {
    if (other == name) return place;
    ++place;
  }
  return -1;
}

int taps_of(const Attributes& attributes) {
  std::string mode = attributes.get_string("mode", "nearest");
  return mode == "nearest" ? 1 : mode == "linear" ? 2 : mode == "cubic" ? 4 : 0;
}

// True when `axes` (empty: all) leaves the batch and channel axes as they are.
bool is_spatial_only(const Problem& problem) {
  for (int axis : {0, 1}) {
    const Dim& in = (*problem.input(0)->dims)[static_cast<size_t>(axis)];
    const Dim& out = (*problem.output()->dims)[static_cast<size_t>(axis)];
    if (!(in == out)) return false;
  }
  return true;
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Resize"})) return refusal;
  const Attributes& attributes = problem.node.attributes;
  int rank = problem.input(0)->rank();
  if (rank != 3 && rank != 4) return "rank";
  if (problem.output()->rank() != rank || !is_spatial_only(problem)) return "resizes batch or channels";
  if (problem.input(0)->layout != problem.output()->layout) return "mixed layouts";
  int taps = taps_of(attributes);
  if (taps == 0) return "mode";
  if (taps > 1 && problem.dtype(0) != DType::kFloat32) return "dtype";
  if (dtype_size(problem.dtype(0)) == 0) return "dtype";
  if (attributes.get_int("antialias", 0) != 0) return "antialias";
  std::string coordinates = attributes.get_string("coordinate_transformation_mode", "half_pixel");
  if (place_of(kCoordinates, coordinates) < 0) return "coordinate_transformation_mode";
  if (place_of(kNearest, attributes.get_string("nearest_mode", "round_prefer_floor")) < 0) return "nearest_mode";
  if (attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch") return "keep_aspect_ratio_policy";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, taps_of(problem.node.attributes) > 1 ? 2 : 1); }

double source_coordinate(const State& state, double scale, int64_t in, int64_t out, int64_t position) {
  auto x = static_cast<double>(position), input = static_cast<double>(in), output = static_cast<double>(out);
  if (state.coordinates == Coordinates::kAsymmetric) return x / scale;
  if (state.coordinates == Coordinates::kAlignCorners) {
    double extent = scale * input;
    return extent == 1 ? 0 : x * (input - 1) / (extent - 1);
  }
  if (state.coordinates == Coordinates::kPytorchHalfPixel && out <= 1) return 0;
  double centre = (x + 0.5) / scale - 0.5;
  if (state.coordinates != Coordinates::kHalfPixelSymmetric) return centre;
  return input / 2 * (1 - output / (scale * input)) + centre;
}

double nearest_of(Nearest nearest, double x) {
  switch (nearest) {
    case Nearest::kRoundPreferFloor: return std::ceil(x - 0.5);
    case Nearest::kRoundPreferCeil: return std::floor(x + 0.5);
    case Nearest::kFloor: return std::floor(x);
    default: return std::ceil(x);
  }
}

// Keys' cubic kernel, or the linear tent.
double weight_of(const State& state, double distance) {
  double d = std::fabs(distance), a = state.cubic;
  if (state.taps == 2) return std::max(1 - d, 0.0);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

// Fills the taps of one axis; returns how many each position uses.
int fill_taps(const State& state, double scale, int64_t in, int64_t out, ResizeTap* taps) {
  auto clamped = [in](int64_t index) { return static_cast<int32_t>(std::clamp<int64_t>(index, 0, in - 1)); };
  if (scale == 1 && in == out) {
    for (int64_t i = 0; i < out; ++i) taps[i] = {{static_cast<int32_t>(i)}, {1.0f}};
    return 1;
  }
  for (int64_t i = 0; i < out; ++i) {
    double x = source_coordinate(state, scale, in, out, i);
    // Far outside all coordinates read the edge; also keeps NaN and huge values out of integers.
    x = !(x > -8) ? -8 : std::min(x, static_cast<double>(in - 1) + 8);
    if (state.taps == 1) {
      taps[i] = {{clamped(static_cast<int64_t>(nearest_of(state.nearest, x)))}, {1.0f}};
      continue;
    }
    int64_t first = static_cast<int64_t>(std::ceil(x)) - state.taps / 2;
    double weights[kResizeTaps] = {}, sum = 0;
    for (int t = 0; t < state.taps; ++t) {
      bool outside = first + t < 0 || first + t >= in;
      weights[t] = state.exclude_outside && outside ? 0 : weight_of(state, static_cast<double>(first + t) - x);
      sum += weights[t];
      taps[i].index[t] = clamped(first + t);
    }
    double factor = state.exclude_outside && sum != 0 ? 1 / sum : 1;
    for (int t = 0; t < state.taps; ++t) taps[i].weight[t] = static_cast<float>(weights[t] * factor);
  }
  return state.taps;
}

// Which element of `scales` belongs to the axis; -1: none.
int scale_place(const Prepare& prepare, int axis) {
  bool by_scales = prepare.inputs.size() > 2 && prepare.inputs[2].present() && prepare.inputs[2].shape.elements() > 0;
  bool by_sizes = prepare.inputs.size() > 3 && prepare.inputs[3].present();
  if (!by_scales || by_sizes) return -1;
  Ints axes = prepare.step.attributes.get_ints("axes");
  if (axes.empty()) return axis;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axis_from_front(axes[i], prepare.inputs[0].shape.rank()) == axis) return static_cast<int>(i);
  }
  return -1;
}

Status prepare(Prepare& prepare) {
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  const Attributes& attributes = prepare.step.attributes;
  int rank = x.shape.rank();
  State state{};
  state.coordinates = static_cast<Coordinates>(
      place_of(kCoordinates, attributes.get_string("coordinate_transformation_mode", "half_pixel")));
  state.nearest = static_cast<Nearest>(place_of(kNearest, attributes.get_string("nearest_mode", "round_prefer_floor")));
  state.taps = taps_of(attributes);
  state.exclude_outside = attributes.get_int("exclude_outside", 0) != 0;
  state.cubic = attributes.get_float("cubic_coeff_a", -0.75f);
  state.channels_last = x.layout == Layout::kChannelsLast;
  ResizeArgs& args = state.args;
  args.channels = x.shape[1];
  args.in_height = rank == 4 ? x.shape[2] : 1;
  args.out_height = rank == 4 ? y.shape[2] : 1;
  args.in_width = x.shape[rank - 1];
  args.out_width = y.shape[rank - 1];
  args.input_pitch = x.pitch;
  args.output_pitch = y.pitch;
  args.element_size = static_cast<int32_t>(dtype_size(x.dtype));
  state.row_scale = rank == 4 ? scale_place(prepare, 2) : -1;
  state.column_scale = scale_place(prepare, rank - 1);
  state.lines = y.shape.elements() == 0 ? 0 : x.shape[0] * args.out_height * (state.channels_last ? 1 : args.channels);
  double microseconds = 1e-3 * static_cast<double>(y.shape.elements()) * (state.taps == 1 ? 0.5 : 1.0 * state.taps / 2);
  state.shares = share_count(microseconds, prepare.threads, state.lines);
  state.scratch_line = (args.in_width + 15) / 16 * 16;
  prepare.scratch_bytes = static_cast<size_t>(args.out_height + args.out_width) * sizeof(ResizeTap) +
                          static_cast<size_t>(state.shares * state.scratch_line) * sizeof(float);
  prepare.state_as<State>() = state;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.lines == 0) return {};
  ResizeArgs args = state.args;
  auto scale_of = [&](int place, int64_t in, int64_t out) {
    return place < 0 ? static_cast<double>(out) / static_cast<double>(in) : run.inputs[2].f32()[place];
  };
  auto* rows = reinterpret_cast<ResizeTap*>(run.scratch);
  ResizeTap* columns = rows + args.out_height;
  auto* lines = reinterpret_cast<float*>(columns + args.out_width);
  double row_scale = scale_of(state.row_scale, args.in_height, args.out_height);
  double column_scale = scale_of(state.column_scale, args.in_width, args.out_width);
  args.row_taps = fill_taps(state, row_scale, args.in_height, args.out_height, rows);
  args.column_taps = fill_taps(state, column_scale, args.in_width, args.out_width, columns);
  args.rows = rows;
  args.columns = columns;
  args.input = run.inputs[0].data;
  args.output = run.outputs[0].data;
  const ResizeTable& table = select_resize_table(usable_isa(run.isa));
  run.pool.run(state.shares, [&](int index) {
    Range range = range_of(state.lines, {index, state.shares});
    if (state.taps == 1) {
      (state.channels_last ? table.nearest_pixels : table.nearest_planes)(args, range.begin, range.end);
    } else if (state.channels_last) {
      table.pixels(args, range.begin, range.end);
    } else {
      table.planes(args, lines + index * state.scratch_line, range.begin, range.end);
    }
  });
  return {};
}

}  // namespace

extern const Kernel resize_kernel = {.name = "resize", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic resize_tactic = {.kernel = "resize", .supports = supports, .cost = cost};

}  // namespace hussar
