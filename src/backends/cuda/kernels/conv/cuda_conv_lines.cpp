// cuda_conv_lines: convolutions of few channels on Hopper, the first ones of networks. The picture, in whatever layout
// it comes, is copied into blocks of stride x stride pixels: across, a window is then one line of neighbouring blocks,
// and lines that overlap are rows of a product that the copy engine finds in memory. Pictures of floats are read for
// filters of halves, too, and results may be bytes (hussar.ConvToBytes).
#include "backends/cuda/byte_product.h"
#include "backends/cuda/hopper_product.h"
#include "backends/cuda/program_source.h"
#include "backends/cuda/results.h"
#include "backends/cuda/windows.h"

namespace hussar {
namespace {

using namespace cuda;

// A convolution over blocks of pixels.
struct LineForm {
  int64_t stride, block;           // pixels along a side; elements, a multiple of 16 bytes
  int64_t taps_down, taps_across;  // in blocks
  int64_t rows, columns;           // blocks of a picture
  int64_t line() const { return taps_across * block; }
  int64_t k() const { return taps_down * line(); }
};

LineForm form_of(const Convolution& conv, DType dtype) {
  LineForm form{};
  const int64_t chunk = 16 / static_cast<int64_t>(dtype_size(dtype));
  form.stride = conv.strides[1];
  form.block = (conv.channels * form.stride * form.stride + chunk - 1) / chunk * chunk;
  form.taps_down = (conv.kernel[1] + form.stride - 1) / form.stride;
  form.taps_across = (conv.kernel[2] + form.stride - 1) / form.stride;
  form.rows = conv.output[1] + form.taps_down - 1;
  form.columns = conv.output[2] + form.taps_across - 1;
  return form;
}

DenseProduct product_of(const Convolution& conv, DType dtype) {
  const LineForm form = form_of(conv, dtype);
  return {conv.pixels(), conv.filters, form.k(), form.block, form.k(), conv.y_pitch};
}

Refusal check_form(const Convolution& conv, DType dtype) {
  constexpr int64_t kMostChannels = 8, kMostStride = 4, kMostBlock = 64;
  if (conv.groups != 1) return "groups";
  if (conv.channels > kMostChannels) return "many channels";
  if (conv.strides[1] != conv.strides[2] || conv.strides[1] > kMostStride) return "strides";
  if (conv.dilations[1] != 1 || conv.dilations[2] != 1) return "dilation";
  // The corner of an im2col map is of eight bits.
  const LineForm form = form_of(conv, dtype);
  if (form.block > kMostBlock || form.taps_down > 128) return "a wide filter";
  return std::nullopt;
}

// Pictures that are rounded to the type of the filter on their way into blocks, and others.
Refusal check_types(const Problem& problem) {
  const bool is_rounded = problem.dtype(0) == DType::kFloat32 && is_half(problem.dtype(1));
  if (!is_rounded) return check_hopper(problem);
  if (problem.target.sm != 90) return "needs Hopper (sm_90)";
  const DType output = problem.output()->dtype;
  const bool is_number = output == problem.dtype(1) || output == DType::kFloat32;
  const bool writes_bytes = problem.node.op == kConvToBytes && is_quantized(output);
  return is_number || writes_bytes ? Refusal() : Refusal("dtype");
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Conv", kConvToBytes})) return refusal;
  if (Refusal refusal = check_types(problem)) return refusal;
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  if (!problem.is_constant(1)) return "needs constant weights";
  if (problem.own_inputs() > 2 && problem.input(2) != nullptr && !is_float(problem.dtype(2))) return "dtype";
  if (problem.input(0)->rank() != 4 || problem.input(1)->rank() != 4) return "rank";
  if (problem.output()->layout != Layout::kChannelsLast) return "layout is not channels-last";
  if (Refusal refusal = check_epilogue(problem)) return refusal;
  auto conv = convolution(problem.node);
  if (!conv) return "shapes";
  if (Refusal refusal = check_form(*conv, problem.dtype(1))) return refusal;
  const bool is_aligned =
      conv->filters % 8 == 0 && conv->y_pitch % 8 == 0 && offset_in_holder(*problem.output()) % 8 == 0;
  return is_aligned ? Refusal() : Refusal("filters are not multiples of 8");
}

HopperOperands operands_of(const Convolution& conv, DType dtype) { return {dtype, form_of(conv, dtype).line()}; }

// What the product is worth in blocks of k.
DenseProduct work_of(const Convolution& conv, DType dtype) {
  const LineForm form = form_of(conv, dtype);
  DenseProduct work = product_of(conv, dtype);
  work.k = operands_of(conv, dtype).whole_k(form.taps_down);
  return work;
}

// Making the lines: they are written, and read about once.
double lines_time(const Convolution& conv, DType dtype) {
  constexpr double kBytesPerMicrosecond = 2e6;
  const LineForm form = form_of(conv, dtype);
  const int64_t elements = conv.batch * form.rows * form.columns * form.block;
  return kLaunchMicroseconds +
         static_cast<double>(2 * elements) * static_cast<double>(dtype_size(dtype)) / kBytesPerMicrosecond;
}

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  const DType dtype = problem.dtype(1);
  if (!conv) return 1e9;
  return lines_time(*conv, dtype) +
         std::max(memory_cost(problem), hopper_time(work_of(*conv, dtype), operands_of(*conv, dtype)));
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto conv = convolution(problem.node);
  if (!conv) return {};
  const DType dtype = problem.dtype(1);
  std::vector<Configuration> list =
      hopper_configurations(problem.node, work_of(*conv, dtype), operands_of(*conv, dtype), memory_cost(problem));
  for (Configuration& configuration : list) configuration.predicted += lines_time(*conv, dtype);
  return list;
}

// Calls move(place in the filter, place in the packed filter) for every weight, in elements.
template <class Move>
void for_each_weight(const Shape& filter, const LineForm& form, Move&& move) {
  int64_t from = 0;
  for (int64_t f = 0; f < filter[0]; ++f) {
    for (int64_t c = 0; c < filter[1]; ++c) {
      for (int64_t row = 0; row < filter[2]; ++row) {
        for (int64_t column = 0; column < filter[3]; ++column, ++from) {
          const int64_t pixel = row % form.stride * form.stride + column % form.stride;
          move(from, f * form.k() + row / form.stride * form.line() + column / form.stride * form.block +
                         pixel * filter[1] + c);
        }
      }
    }
  }
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Convolution conv = HUSSAR_TRY(convolution(node));
  const DType dtype = node.inputs[1]->dtype;
  const LineForm form = form_of(conv, dtype);
  const Tensor filter = *node.inputs[1]->constant;
  const size_t size = dtype_size(filter.dtype());
  Tensor packed(filter.dtype(), Shape{conv.filters, form.k()});
  std::memset(packed.raw(), 0, packed.bytes());
  for_each_weight(filter.shape(), form, [&](int64_t from, int64_t to) {
    std::memcpy(packed.raw() + static_cast<size_t>(to) * size, filter.raw() + static_cast<size_t>(from) * size, size);
  });
  packing.replace(1, std::move(packed));
  Defines defines;
  defines.set("PRODUCT_WINDOWS", 1).set("CONV_CHANNELS", form.line());
  defines.set("CONV_KERNEL_1", form.taps_down).set("CONV_KERNEL_2", 1);
  defines.set("LINE_CHANNELS", conv.channels).set("LINE_STRIDE", form.stride).set("LINE_BLOCK", form.block);
  defines.set("LINE_TYPE", type_name(dtype)).set("LINE_PICTURE", type_name(node.inputs[0]->dtype));
  return attach_hopper(packing, work_of(conv, dtype), operands_of(conv, dtype), std::move(defines), {"lines.cuh"});
}

// Gives the node a picture that is channels-last: other kernels read nothing else.
void convert_picture(Packing& packing) {
  Graph& graph = packing.graph;
  Value* x = packing.node.inputs[0];
  if (x->layout == Layout::kChannelsLast) return;
  Value* converted = graph.add_value(graph.unique_name(x->name), x->dtype, x->dims);
  converted->layout = Layout::kChannelsLast;
  graph.add_node("hussar.Reformat", x->name, {x}, {converted});
  graph.set_input(&packing.node, 0, converted);
}

Status unpack(Packing& packing) {
  Node& node = packing.node;
  forget_hopper(node);
  const Ints* dims = node.attributes.find<Ints>("hussar_packed_1");
  const Value* packed = node.input(1);
  HUSSAR_CHECK(dims != nullptr && dims->size() == 4 && packed != nullptr && packed->is_constant() &&
                   bytes_needed(packed->constant->dtype(), Shape(*dims)),
               ErrorCode::kPlanIncompatible, "{}: its filter is not what it was", describe(node));
  const Shape shape(*dims);
  const Convolution conv = HUSSAR_TRY(
      convolution(node.op, node.attributes, operand_of(*node.inputs[0]), shape, operand_of(*node.outputs[0])));
  const Tensor from = *packed->constant;
  HUSSAR_CHECK(
      !check_form(conv, from.dtype()) && from.shape() == (Shape{conv.filters, form_of(conv, from.dtype()).k()}),
      ErrorCode::kPlanIncompatible, "{}: its filter is not what it was", describe(node));
  Tensor filter(from.dtype(), shape);
  const size_t size = dtype_size(from.dtype());
  for_each_weight(shape, form_of(conv, from.dtype()), [&](int64_t to, int64_t at) {
    std::memcpy(filter.raw() + static_cast<size_t>(to) * size, from.raw() + static_cast<size_t>(at) * size, size);
  });
  packing.replace(1, std::move(filter));
  convert_picture(packing);
  return {};
}

// Lines of device/lines.cuh.
struct Lines {
  int64_t blocks;
  int64_t picture, channel, row, column;
  int32_t height, width, block_rows, block_columns, row_pad, column_pad;
};

struct State {
  Launch make_lines;
  Lines lines;
  HopperLaunch launch;
  WindowMap x;
  WindowSteps steps;
};

Lines lines_of(const Convolution& conv, const Operand& x, DType dtype) {
  const LineForm form = form_of(conv, dtype);
  const bool is_plain = x.layout == Layout::kPlain;
  Lines lines{};
  lines.blocks = conv.batch * form.rows * form.columns;
  lines.column = is_plain ? 1 : conv.x_pitch;
  lines.row = lines.column * conv.input[2];
  lines.channel = is_plain ? lines.row * conv.input[1] : 1;
  lines.picture = lines.row * conv.input[1] * (is_plain ? conv.channels : 1);
  lines.height = static_cast<int32_t>(conv.input[1]);
  lines.width = static_cast<int32_t>(conv.input[2]);
  lines.block_rows = static_cast<int32_t>(form.rows);
  lines.block_columns = static_cast<int32_t>(form.columns);
  lines.row_pad = static_cast<int32_t>(conv.pads[1]);
  lines.column_pad = static_cast<int32_t>(conv.pads[2]);
  return lines;
}

// Windows of one line for every output pixel; the padding is in memory.
WindowMap map_of(const Convolution& conv, DType dtype, const HopperLaunch& launch) {
  const LineForm form = form_of(conv, dtype);
  auto size = [](int64_t number) { return static_cast<uint64_t>(number); };
  const uint64_t pitch = dtype_size(dtype) * size(form.block), row = pitch * size(form.columns);
  WindowMap map;
  map.dtype = dtype;
  map.channels = launch.block_k;
  map.swizzle_bytes = launch.row_bytes;
  map.pixels = static_cast<uint32_t>(launch.x_rows);
  map.upper[1] = static_cast<int32_t>(1 - form.taps_down);
  const uint64_t sizes[] = {size(form.line()), size(conv.output[2]), size(form.rows), size(conv.batch)};
  const uint64_t strides[] = {pitch, row, row * size(form.rows)};
  std::copy_n(sizes, 4, map.sizes);
  std::copy_n(strides, 3, map.strides);
  return map;
}

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const PlanStep& step = prepare.step;
  const Ints dims = step.attributes.get_ints("hussar_packed_1");
  HUSSAR_CHECK(dims.size() == 4, ErrorCode::kPlanIncompatible, "step '{}' has no filter", step.name);
  const Convolution conv =
      HUSSAR_TRY(convolution(step.op, step.attributes, prepare.inputs[0], Shape(dims), prepare.outputs[0]));
  const DType dtype = prepare.inputs[1].dtype;
  const DenseProduct product = product_of(conv, dtype);
  HUSSAR_CHECK(!check_form(conv, dtype) && prepare.inputs[1].shape == (Shape{product.n, product.k}),
               ErrorCode::kPlanIncompatible, "step '{}': its filter does not fit; build the plan again", step.name);
  HUSSAR_TRY(prepare_hopper(prepare, product, operands_of(conv, dtype), state.launch));
  state.lines = lines_of(conv, prepare.inputs[0], dtype);
  state.x = map_of(conv, dtype, state.launch);
  state.steps = {{static_cast<int32_t>(conv.output[1]), static_cast<int32_t>(conv.output[2])}, {1, 1}, {0, 0}, {1, 1}};
  HUSSAR_CHECK(state.lines.blocks < (int64_t{1} << 31), ErrorCode::kUsage, "step '{}': the picture is too large",
               step.name);
  state.make_lines = Launch{};
  state.make_lines.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "make_lines"));
  state.make_lines.threads = 256;
  state.make_lines.grid[0] = static_cast<unsigned>((state.lines.blocks + 255) / 256);
  prepare.scratch_bytes = static_cast<size_t>(state.lines.blocks * form_of(conv, dtype).block) * dtype_size(dtype);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.launch.sizes.m == 0) return {};
  Queue& queue = queue_of(run.device);
  const std::byte* x = run.inputs[0].data;
  std::byte* lines = run.scratch;
  Lines form = state.lines;
  void* const arguments[] = {&x, &lines, &form};
  HUSSAR_TRY(queue.launch(state.make_lines, arguments));
  TensorMap map = HUSSAR_TRY(queue.encode(state.x, lines));
  WindowSteps steps = state.steps;
  return launch_hopper(run, state.launch, map, &steps);
}

}  // namespace

extern const Kernel cuda_conv_lines_kernel = {.name = "cuda_conv_lines",
                                              .place = Place::kDevice,
                                              .state_bytes = sizeof(State),
                                              .checks_shapes = true,
                                              .prepare = prepare,
                                              .run = run};
extern const Tactic cuda_conv_lines_tactic = {.kernel = "cuda_conv_lines",
                                              .place = Place::kDevice,
                                              .supports = supports,
                                              .cost = cost,
                                              .configurations = configurations,
                                              .pack = pack,
                                              .unpack = unpack};

}  // namespace hussar
