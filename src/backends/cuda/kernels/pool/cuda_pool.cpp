// cuda_pool: MaxPool, AveragePool and hussar.AverageBytes over 1 to 3 spatial axes, in both layouts.
#include <fmt/format.h>

#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/program_source.h"
#include "backends/cuda/results.h"
#include "backends/cuda/spatial.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr int kAxes = kSpatialAxes;

struct Window {
  int64_t input[kAxes], output[kAxes], kernel[kAxes], stride[kAxes], dilation[kAxes], pad[kAxes], pad_end[kAxes];
};

constexpr std::string_view kAverageBytes = "hussar.AverageBytes";

bool takes_types(std::string_view op, DType x, DType y) {
  if (op == kAverageBytes) return x == DType::kUInt8 && (y == DType::kUInt8 || is_float(y));
  const bool moves = x == kFp8 || !memory_type(x).empty();
  return y == x && (is_float(x) || (op == "MaxPool" && moves));
}

Refusal supports(const Problem& problem) {
  const Node& node = problem.node;
  if (Refusal refusal = refuse_op(problem, {"MaxPool", "AveragePool", kAverageBytes})) return refusal;
  const Value &x = *problem.input(0), &y = *problem.output();
  if (node.program) return "fused program";
  if (!takes_types(node.op, x.dtype, y.dtype)) return "dtype";
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  if (problem.output(1) != nullptr) return "indices";
  if (x.rank() < 3 || x.rank() > 2 + kAxes) return "rank";
  if (x.layout != y.layout) return "mixed layouts";
  return std::nullopt;
}

double kernel_elements(const Node& node) {
  double elements = 1;
  for (int64_t size : node.attributes.get_ints("kernel_shape")) elements *= static_cast<double>(size);
  return elements;
}

// The cache serves all but the first reads of an element.
double cost(const Problem& problem) { return memory_cost(problem, 1 + 0.05 * kernel_elements(problem.node)); }

int64_t value_at(const Ints& values, int axis, int64_t otherwise) {
  return axis < static_cast<int>(values.size()) ? values[static_cast<size_t>(axis)] : otherwise;
}

Window window_of(const Attributes& attributes, const Shape& x, const Shape& y) {
  const int spatial = x.rank() - 2;
  const Ints kernel = attributes.get_ints("kernel_shape"), strides = attributes.get_ints("strides");
  const Ints dilations = attributes.get_ints("dilations"), pads = attributes.get_ints("pads");
  const std::string auto_pad = attributes.get_string("auto_pad", "NOTSET");
  const bool is_upper = auto_pad == "SAME_UPPER", is_same = is_upper || auto_pad == "SAME_LOWER";
  Window window{};
  for (int slot = 0; slot < kAxes; ++slot) {
    window.input[slot] = window.output[slot] = window.kernel[slot] = window.stride[slot] = window.dilation[slot] = 1;
    const int axis = slot - (kAxes - spatial);
    if (axis < 0) continue;
    window.input[slot] = x[axis + 2];
    window.output[slot] = y[axis + 2];
    window.kernel[slot] = value_at(kernel, axis, 1);
    window.stride[slot] = value_at(strides, axis, 1);
    window.dilation[slot] = value_at(dilations, axis, 1);
    if (is_same) {
      const int64_t extent = (window.kernel[slot] - 1) * window.dilation[slot] + 1;
      const int64_t covered = (window.output[slot] - 1) * window.stride[slot] + extent;
      const int64_t total = std::max<int64_t>(covered - window.input[slot], 0);
      window.pad[slot] = is_upper ? total / 2 : total - total / 2;
      window.pad_end[slot] = total - window.pad[slot];
    } else if (auto_pad != "VALID") {
      window.pad[slot] = value_at(pads, axis, 0);
      window.pad_end[slot] = value_at(pads, axis + spatial, 0);
    }
  }
  return window;
}

std::string lowest_of(DType dtype) {
  if (is_float(dtype) || dtype == kFp8) return "__uint_as_float(0xff800000U)";
  const bool is_unsigned =
      dtype == DType::kUInt8 || dtype == DType::kUInt16 || dtype == DType::kUInt32 || dtype == DType::kBool;
  if (is_unsigned) return "0";
  return fmt::format("(-{}LL - 1)", static_cast<int64_t>((uint64_t{1} << (8 * dtype_size(dtype) - 1)) - 1));
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Value &x = *node.inputs[0], &y = *node.outputs[0];
  // The largest of bytes are found four at a time.
  const bool of_bytes = node.op == "MaxPool" && x.dtype == DType::kUInt8;
  const int64_t vector = channel_vector(x, y, of_bytes ? 1 : 2);
  node.attributes.set(kVectorAttribute, vector);
  const Ints kernel = node.attributes.get_ints("kernel_shape");
  const int missing = kAxes - (x.rank() - 2);
  const bool averages_bytes = node.op == kAverageBytes;
  Defines defines;
  defines.set("INPUT_TYPE", number_type(x.dtype)).set("OUTPUT_TYPE", result_type(node)).set("VECTOR", vector);
  defines.set("VALUE", averages_bytes ? "int" : x.dtype == kFp8 ? "float" : register_type(x.dtype));
  defines.set("AVERAGE_BYTES", averages_bytes ? 1 : 0);
  defines.set("SCALE", literal(node.attributes.get_float("x_scale", 1)));
  defines.set("ZERO_POINT", node.attributes.get_int("x_zero_point", 0));
  define_results(node, true, defines);
  defines.set("CHANNELS_LAST", x.layout == Layout::kChannelsLast ? 1 : 0);
  defines.set("MAXIMUM", node.op == "MaxPool" ? 1 : 0).set("LOWEST", lowest_of(x.dtype));
  defines.set("BYTE_MAXIMUM", of_bytes && vector % 4 == 0 ? 1 : 0);
  defines.set("COUNT_PADDING", node.attributes.get_int("count_include_pad", 0) != 0 ? 1 : 0);
  for (int slot = 0; slot < kAxes; ++slot) {
    defines.set(fmt::format("KERNEL{}", slot), slot < missing ? 1 : value_at(kernel, slot - missing, 1));
  }
  return attach_code(packing, assemble(defines, {"numbers.cuh", "places.cuh", "pool.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kVectorAttribute);
  return {};
}

struct State {
  Launch launch;
  Window window;
  int64_t units, channels;
  SpatialStrides input, output;
  ByteMeaning meaning;
};

Status prepare(Prepare& prepare) {
  const Operand &x = prepare.inputs[0], &y = prepare.outputs[0];
  State& state = prepare.state_as<State>();
  const int64_t vector = HUSSAR_TRY(channel_vector_of_step(prepare));
  state.window = window_of(prepare.step.attributes, x.shape, y.shape);
  state.units = y.shape.elements() / vector;
  state.channels = x.shape[1] / vector;
  state.input = spatial_strides(x);
  state.output = spatial_strides(y);
  state.meaning = byte_meaning(prepare.step.attributes);
  state.launch = Launch{};
  state.launch.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "pool"));
  state.launch.threads = 256;
  state.launch.grid[0] = blocks_for(state.units, 256);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const Window& window = state.window;
  Words words;
  words.put(state.units);
  words.put(state.channels);
  for (const int64_t* values :
       {window.input, window.output, window.stride, window.dilation, window.pad, window.pad_end}) {
    for (int axis = 0; axis < kAxes; ++axis) words.put(values[axis]);
  }
  for (const SpatialStrides* strides : {&state.input, &state.output}) {
    for (int64_t stride : strides->values) words.put(stride);
  }
  words.put(run.inputs[0].data);
  words.put(run.outputs[0].data);
  state.meaning.put(words);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_pool_kernel = {
    .name = "cuda_pool", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_pool_tactic = {
    .kernel = "cuda_pool", .place = Place::kDevice, .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
