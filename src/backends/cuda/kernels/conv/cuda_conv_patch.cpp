// cuda_conv_patch: convolutions of few channels and filters on tensor cores. Blocks keep all weights, and bring what
// the windows of a tile share once (device/convolution_patch.cuh).
#include "backends/cuda/ampere_product.h"
#include "backends/cuda/byte_product.h"
#include "backends/cuda/windows.h"

namespace hussar {
namespace {

using namespace cuda;

struct Tile {
  std::string_view name;
  int64_t rows;  // of 16 pixels
};
constexpr Tile kTiles[] = {{"16x16", 16}, {"8x16", 8}, {"4x16", 4}};
constexpr int64_t kColumns = 16, kWarps = 4;
constexpr std::string_view kTile = "hussar_tile";
// What a block may have on every GPU with tensor cores.
constexpr int64_t kMostShared = 99 * 1024;
constexpr int64_t kUsualMultiprocessors = 132;

// PATCH_STAGES and sizes of device/convolution_patch.cuh; no stages: they do not fit.
struct Form {
  int64_t rows, stages, weight_bytes, patch_bytes;
  int64_t shared_bytes() const { return weight_bytes + stages * patch_bytes; }
};

int64_t warps_n(const Convolution& conv) { return (conv.filters + 31) / 32; }

Form form_of(const Convolution& conv, DType dtype, int64_t rows) {
  const int64_t pixel = conv.channels * static_cast<int64_t>(dtype_size(dtype));
  const int64_t columns = (kColumns - 1) * conv.strides[2] + conv.kernel[2];
  const int64_t planes = (columns + conv.strides[2] - 1) / conv.strides[2] * conv.strides[2];
  Form form{rows, 2, 32 * warps_n(conv) * conv.taps() * pixel, 0};
  form.patch_bytes = ((rows - 1) * conv.strides[1] + conv.kernel[1]) * planes * pixel;
  while (form.stages > 0 && form.shared_bytes() > kMostShared) --form.stages;
  return form;
}

int64_t tiles_of(const Convolution& conv, int64_t rows) {
  return conv.batch * ((conv.output[1] + rows - 1) / rows) * ((conv.output[2] + kColumns - 1) / kColumns);
}

// Blocks that a multiprocessor has room for, more or less.
int64_t blocks_of(const Convolution& conv, const Form& form) {
  constexpr int64_t kShared = 200 * 1024, kThreads = 1024;
  return std::clamp<int64_t>(std::min(kShared / form.shared_bytes(), kThreads / (32 * kWarps * warps_n(conv))), 1, 8);
}

// Microseconds, of one turn of all multiprocessors after the other.
double time_of(const Convolution& conv, const Problem& problem, int64_t rows) {
  constexpr double kPeaks[] = {4.5e8, 2.2e8, 4e7, 9e8, 9e8, 4.5e8};  // of each ProductInput
  constexpr double kRate = 0.4, kTurn = 0.8;
  const double peak = kPeaks[static_cast<int>(product_input(problem.dtype(0), problem.target))];
  const double flops = 2.0 * static_cast<double>(rows * kColumns * 32 * warps_n(conv) * conv.channels * conv.taps());
  const double turns = std::ceil(static_cast<double>(tiles_of(conv, rows)) / kUsualMultiprocessors);
  const auto beside = static_cast<double>(blocks_of(conv, form_of(conv, problem.dtype(0), rows)));
  return kLaunchMicroseconds + turns * (flops * kUsualMultiprocessors / (peak * kRate) + kTurn / beside);
}

bool has_tile(const Convolution& conv, DType dtype, const Tile& tile) {
  return form_of(conv, dtype, tile.rows).stages > 0;
}

// The rows of the tile that the node asks for, or of the best.
int64_t rows_of(const Convolution& conv, const Problem& problem) {
  const DType dtype = problem.dtype(0);
  const Tile* wanted = configured_tile<Tile>(kTiles, problem.node);
  if (wanted != nullptr && has_tile(conv, dtype, *wanted)) return wanted->rows;
  int64_t best = kTiles[std::size(kTiles) - 1].rows;
  for (const Tile& tile : kTiles) {
    if (has_tile(conv, dtype, tile) && time_of(conv, problem, tile.rows) < time_of(conv, problem, best))
      best = tile.rows;
  }
  return best;
}

Refusal check_form(const Convolution& conv, DType dtype) {
  constexpr int64_t kMostFilters = 128, kMostTaps = 25, kMostStride = 2;
  const int64_t pixel = conv.channels * static_cast<int64_t>(dtype_size(dtype));
  if (conv.input[0] != 1 || conv.kernel[0] != 1) return "three dimensions";
  if (conv.dilations[1] != 1 || conv.dilations[2] != 1) return "dilation";
  if (conv.strides[1] > kMostStride || conv.strides[2] > kMostStride) return "strides";
  if (conv.taps() > kMostTaps || conv.filters > kMostFilters || !has_tile(conv, dtype, kTiles[std::size(kTiles) - 1]))
    return "too many weights for a block";
  return pixel % 32 == 0 ? Refusal() : Refusal("channels are not multiples of 32 bytes");
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_window_product(problem)) return refusal;
  if (Refusal refusal = check_ampere_types(problem)) return refusal;
  if (product_input(problem.dtype(0), problem.target) == ProductInput::kFp32) return "FP32 without TF32";
  auto conv = convolution(problem.node);
  return conv ? check_form(*conv, problem.dtype(0)) : Refusal("shapes");
}

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  return conv ? std::max(memory_cost(problem), time_of(*conv, problem, rows_of(*conv, problem))) : 1e9;
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto conv = convolution(problem.node);
  if (!conv) return {};
  const int64_t usual = rows_of(*conv, problem);
  std::vector<Configuration> list;
  for (const Tile& tile : kTiles) {
    if (tile.rows != usual && has_tile(*conv, problem.dtype(0), tile))
      list.push_back({tile.name, std::max(memory_cost(problem), time_of(*conv, problem, tile.rows))});
  }
  return list;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Convolution conv = HUSSAR_TRY(convolution(node));
  const DType dtype = node.inputs[0]->dtype;
  const Form form = form_of(conv, dtype, rows_of(conv, {node, packing.target}));
  make_table(packing);
  HUSSAR_TRY(turn_filter(packing));
  node.attributes.set(kTile, Ints{form.rows, form.stages});
  Defines defines;
  define_input(node, product_input(dtype, packing.target), defines);
  defines.set("PRODUCT_DEPENDENT_LAUNCH", packing.target.sm >= 90).set("PRODUCT_N", conv.filters);
  defines.set("PATCH_ROWS", form.rows).set("PATCH_WARPS", kWarps).set("PATCH_STAGES", form.stages);
  defines.set("PATCH_CHANNELS", conv.channels);
  defines.set("PATCH_KERNEL_1", conv.kernel[1]).set("PATCH_KERNEL_2", conv.kernel[2]);
  defines.set("PATCH_STRIDE_1", conv.strides[1]).set("PATCH_STRIDE_2", conv.strides[2]);
  return attach_code(
      packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(node)) +
                   assemble({}, {"half.cuh", "product_contract.cuh", "warp_product.cuh", "convolution_patch.cuh"}));
}

Status unpack(Packing& packing) {
  forget_ampere(packing.node);
  return turn_filter_back(packing);
}

// Patches of device/convolution_patch.cuh.
struct Patches {
  int64_t x_pitch;
  int32_t height, width, rows, columns, row_pad, column_pad, tiles, tiles_down, tiles_across;
};

struct State {
  Launch launch;
  ProductSizes sizes;
  Patches patches;
  EpilogueState epilogue;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const PlanStep& step = prepare.step;
  const Convolution conv =
      HUSSAR_TRY(convolution(step.op, step.attributes, prepare.inputs[0], prepare.inputs[1].shape, prepare.outputs[0]));
  const DType dtype = prepare.inputs[0].dtype;
  const Ints tile = step.attributes.get_ints(kTile);
  HUSSAR_CHECK(tile.size() == 2 && tile[0] > 0 && tile[0] <= kTiles[0].rows && !check_form(conv, dtype),
               ErrorCode::kPlanIncompatible, "step '{}' has no tile; build the plan again", step.name);
  const Form form = form_of(conv, dtype, tile[0]);
  HUSSAR_CHECK(form.stages == tile[1], ErrorCode::kPlanIncompatible, "step '{}' has another tile; build the plan again",
               step.name);
  constexpr int64_t kMost = int64_t{1} << 31;
  HUSSAR_CHECK(conv.y_pitch < kMostPitch && conv.pixels() < kMost && conv.pixels() * conv.y_pitch < kMost,
               ErrorCode::kUsage, "step '{}': the picture is too large", step.name);
  HUSSAR_TRY(state.epilogue.prepare(prepare));
  auto number = [](int64_t value) { return static_cast<int32_t>(value); };
  state.sizes = sizes_of(window_product(conv));
  state.patches = {conv.x_pitch,
                   number(conv.input[1]),
                   number(conv.input[2]),
                   number(conv.output[1]),
                   number(conv.output[2]),
                   number(conv.pads[1]),
                   number(conv.pads[2]),
                   number(tiles_of(conv, form.rows)),
                   number((conv.output[1] + form.rows - 1) / form.rows),
                   number((conv.output[2] + kColumns - 1) / kColumns)};
  Queue& queue = queue_of(prepare.device);
  state.launch = Launch{};
  state.launch.grid[0] = static_cast<unsigned>(
      std::min<int64_t>(state.patches.tiles, queue.facts().multiprocessors * blocks_of(conv, form)));
  state.launch.threads = static_cast<unsigned>(32 * kWarps * warps_n(conv));
  state.launch.shared_bytes = static_cast<unsigned>(form.shared_bytes());
  state.launch.function = HUSSAR_TRY(queue.load(prepare.code, "convolve_patches", state.launch.shared_bytes));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.patches.tiles == 0) return {};
  const std::byte *x = run.inputs[0].data, *w = run.inputs[1].data;
  std::byte* y = run.outputs[0].data;
  ProductSizes sizes = state.sizes;
  Patches patches = state.patches;
  Words fused;
  state.epilogue.put(run, fused);
  void* const arguments[] = {&x, &w, &y, &sizes, fused.data(), &patches};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_conv_patch_kernel = {
    .name = "cuda_conv_patch", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_conv_patch_tactic = {.kernel = "cuda_conv_patch",
                                              .place = Place::kDevice,
                                              .supports = supports,
                                              .cost = cost,
                                              .configurations = configurations,
                                              .pack = pack,
                                              .unpack = unpack};

}  // namespace hussar
