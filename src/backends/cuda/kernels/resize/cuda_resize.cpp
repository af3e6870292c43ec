// cuda_resize: Resize of one to three spatial axes, in both layouts: nearest for any elements, linear and cubic for
// floats.
#include <fmt/format.h>

#include <bit>

#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/program_source.h"
#include "backends/cuda/spatial.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

// In the order of the numbers that device/resize.cuh knows.
constexpr std::string_view kCoordinates[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
                                             "align_corners", "asymmetric"};
constexpr std::string_view kNearest[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};

template <class List>
int64_t place_of(const List& names, std::string_view name) {
  const auto* found = std::find(std::begin(names), std::end(names), name);
  return found == std::end(names) ? -1 : found - std::begin(names);
}

int64_t coordinates_of(const Attributes& attributes) {
  return place_of(kCoordinates, attributes.get_string("coordinate_transformation_mode", "half_pixel"));
}
int64_t nearest_of(const Attributes& attributes) {
  return place_of(kNearest, attributes.get_string("nearest_mode", "round_prefer_floor"));
}
int64_t taps_of(const Attributes& attributes) {
  const std::string mode = attributes.get_string("mode", "nearest");
  return mode == "nearest" ? 1 : mode == "linear" ? 2 : mode == "cubic" ? 4 : 0;
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Resize"})) return refusal;
  const Attributes& attributes = problem.node.attributes;
  const Value &x = *problem.input(0), &y = *problem.output();
  if (x.rank() < 3 || x.rank() > 2 + kSpatialAxes || y.rank() != x.rank()) return "rank";
  for (size_t axis : {0, 1}) {
    if (!((*x.dims)[axis] == (*y.dims)[axis])) return "resizes batch or channels";
  }
  if (x.layout != y.layout) return "mixed layouts";
  const int64_t taps = taps_of(attributes);
  if (taps == 0) return "mode";
  const size_t size = dtype_size(x.dtype);
  if (taps == 1 ? size == 0 || size > 8 : !is_float(x.dtype)) return "dtype";
  if (attributes.get_int("antialias", 0) != 0) return "antialias";
  if (coordinates_of(attributes) < 0) return "coordinate_transformation_mode";
  if (nearest_of(attributes) < 0) return "nearest_mode";
  if (attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch") return "keep_aspect_ratio_policy";
  for (size_t i : {size_t{2}, size_t{3}}) {
    if (problem.input(i) != nullptr && !problem.is_constant(i)) return "needs constant scales or sizes";
  }
  return std::nullopt;
}

double cost(const Problem& problem) { return kLaunchMicroseconds + memory_cost(problem); }

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Attributes& attributes = node.attributes;
  const Value &x = *node.inputs[0], &y = *node.outputs[0];
  const int64_t taps = taps_of(attributes), vector = channel_vector(x, y);
  const int spatial = x.rank() - 2;
  Defines defines;
  defines.set("TAPS", taps).set("TAPS0", spatial > 2 ? taps : 1).set("TAPS1", spatial > 1 ? taps : 1);
  defines.set("COORDINATES", coordinates_of(attributes)).set("NEAREST", nearest_of(attributes));
  defines.set("EXCLUDE_OUTSIDE", attributes.get_int("exclude_outside", 0) != 0 ? 1 : 0);
  defines.set("CUBIC", literal(attributes.get_float("cubic_coeff_a", -0.75F)));
  const std::string word =
      taps == 1 ? std::string(word_of(static_cast<int64_t>(dtype_size(x.dtype)))) : memory_type(x.dtype);
  defines.set("WORD", word).set("VALUE", taps == 1 ? std::string_view(word) : "float").set("VECTOR", vector);
  defines.set("CHANNELS_LAST", x.layout == Layout::kChannelsLast ? 1 : 0);
  node.attributes.set(kVectorAttribute, vector);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "places.cuh", "resize.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kVectorAttribute);
  return {};
}

struct State {
  Launch taps_launch, launch;
  int64_t units, channels;
  int64_t input[kSpatialAxes], output[kSpatialAxes];
  double scale[kSpatialAxes];
  SpatialStrides from, to;
};

// What `scales` says of the axis; nothing: the ratio of the extents.
std::optional<double> given_scale(const Prepare& prepare, int axis) {
  auto given = [&](size_t i) {
    return prepare.inputs.size() > i && prepare.inputs[i].present() && prepare.inputs[i].shape.elements() > 0;
  };
  if (!given(2) || given(3)) return std::nullopt;
  const Ints axes = prepare.step.attributes.get_ints("axes");
  if (axes.empty()) return prepare.inputs[2].f32()[axis];
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axis_from_front(axes[i], prepare.inputs[0].shape.rank()) == axis) return prepare.inputs[2].f32()[i];
  }
  return std::nullopt;
}

Status prepare(Prepare& prepare) {
  const Operand &x = prepare.inputs[0], &y = prepare.outputs[0];
  const int64_t vector = HUSSAR_TRY(channel_vector_of_step(prepare));
  State& state = prepare.state_as<State>();
  const int missing = kSpatialAxes - (x.shape.rank() - 2);
  int64_t positions = 0;
  for (int slot = 0; slot < kSpatialAxes; ++slot) {
    const int axis = slot - missing + 2;
    state.input[slot] = slot < missing ? 1 : x.shape[axis];
    state.output[slot] = slot < missing ? 1 : y.shape[axis];
    state.scale[slot] = static_cast<double>(state.output[slot]) / static_cast<double>(state.input[slot]);
    if (slot >= missing) state.scale[slot] = given_scale(prepare, axis).value_or(state.scale[slot]);
    positions += state.output[slot];
  }
  state.units = y.shape.elements() / vector;
  state.channels = x.shape[1] / vector;
  state.from = spatial_strides(x);
  state.to = spatial_strides(y);
  state.taps_launch = HUSSAR_TRY(launch_for(prepare, "resize_taps", positions));
  state.launch = HUSSAR_TRY(launch_for(prepare, "resize", state.units));
  // An index and a weight.
  prepare.scratch_bytes = static_cast<size_t>(positions * taps_of(prepare.step.attributes) * 8);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.units == 0) return {};
  Words taps;
  auto put_axes = [](Words& words, const int64_t* values) {
    for (int axis = 0; axis < kSpatialAxes; ++axis) words.put(values[axis]);
  };
  put_axes(taps, state.input);
  put_axes(taps, state.output);
  for (double scale : state.scale) taps.put(std::bit_cast<int64_t>(scale));
  taps.put(run.scratch);
  void* const taps_arguments[] = {taps.data()};
  HUSSAR_TRY(queue_of(run.device).launch(state.taps_launch, taps_arguments));
  Words words;
  words.put(state.units);
  words.put(state.channels);
  put_axes(words, state.output);
  for (const SpatialStrides* strides : {&state.from, &state.to}) {
    for (int64_t stride : strides->values) words.put(stride);
  }
  words.put(run.inputs[0].data);
  words.put(run.outputs[0].data);
  words.put(run.scratch);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_resize_kernel = {
    .name = "cuda_resize", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_resize_tactic = {.kernel = "cuda_resize",
                                          .place = Place::kDevice,
                                          .supports = supports,
                                          .cost = cost,
                                          .pack = pack,
                                          .unpack = unpack};

}  // namespace hussar
