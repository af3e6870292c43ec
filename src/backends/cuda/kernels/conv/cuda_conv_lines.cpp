// cuda_conv_lines: convolutions of few channels on Hopper, the first ones of networks. The picture, in whatever layout
// it comes, is copied into blocks of stride x stride pixels: across, a window is then one line of neighbouring blocks,
// and lines that overlap are rows of a product that the copy engine finds in memory. Pictures of floats are read for
// filters of halves, too, and results may be bytes (hussar.ConvToBytes).
#include "backends/cuda/hopper_product.h"
#include "backends/cuda/picture_blocks.h"
#include "backends/cuda/program_source.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr int64_t kUnitBytes = 16;

PictureBlocks form_of(const Convolution& conv, DType dtype) { return blocks_of(conv, dtype, kUnitBytes); }

DenseProduct product_of(const Convolution& conv, DType dtype) {
  const PictureBlocks form = form_of(conv, dtype);
  return {conv.pixels(), conv.filters, form.k(), form.block, form.k(), conv.y_pitch};
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_first_conv(problem)) return refusal;
  if (problem.target.sm != 90) return "needs Hopper (sm_90)";
  if (Refusal refusal = check_picture_types(problem, check_hopper(problem))) return refusal;
  return check_blocks(*convolution(problem.node), problem.dtype(1), kUnitBytes);
}

HopperOperands operands_of(const Convolution& conv, DType dtype) { return {dtype, form_of(conv, dtype).line()}; }

// What the product is worth in blocks of k.
DenseProduct work_of(const Convolution& conv, DType dtype) {
  const PictureBlocks form = form_of(conv, dtype);
  DenseProduct work = product_of(conv, dtype);
  work.k = operands_of(conv, dtype).whole_k(form.taps_down);
  return work;
}

// Making the lines: they are written, and read about once.
double lines_time(const Convolution& conv, DType dtype) {
  constexpr double kBytesPerMicrosecond = 2e6;
  const PictureBlocks form = form_of(conv, dtype);
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

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Convolution conv = HUSSAR_TRY(convolution(node));
  const DType dtype = node.inputs[1]->dtype;
  const PictureBlocks form = form_of(conv, dtype);
  pack_blocks(packing, form);
  Defines defines;
  defines.set("PRODUCT_WINDOWS", 1).set("CONV_CHANNELS", form.line());
  defines.set("CONV_KERNEL_1", form.taps_down).set("CONV_KERNEL_2", 1);
  defines.set("LINE_CHANNELS", conv.channels).set("LINE_STRIDE", form.stride).set("LINE_BLOCK", form.block);
  defines.set("LINE_TYPE", type_name(dtype)).set("LINE_PICTURE", type_name(node.inputs[0]->dtype));
  return attach_hopper(packing, work_of(conv, dtype), operands_of(conv, dtype), std::move(defines), {"lines.cuh"});
}

Status unpack(Packing& packing) {
  forget_hopper(packing.node);
  return unpack_blocks(packing, kUnitBytes);
}

// Lines of device/lines.cuh.
struct Lines {
  int64_t blocks;
  PictureSteps steps;
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
  const PictureBlocks form = form_of(conv, dtype);
  Lines lines{};
  lines.blocks = conv.batch * form.rows * form.columns;
  lines.steps = steps_of(conv, x.layout);
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
  const PictureBlocks form = form_of(conv, dtype);
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
  const Convolution conv = HUSSAR_TRY(convolution_of_blocks(prepare, kUnitBytes));
  const DType dtype = prepare.inputs[1].dtype;
  HUSSAR_TRY(prepare_hopper(prepare, product_of(conv, dtype), operands_of(conv, dtype), state.launch));
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
