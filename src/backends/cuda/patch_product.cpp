// Tiles of convolutions that bring patches.
#include "backends/cuda/patch_product.h"

namespace hussar::cuda {
namespace {

struct Tile {
  std::string_view name;
  int64_t rows;  // of 16 pixels
};
constexpr Tile kTiles[] = {{"16x16", 16}, {"8x16", 8}, {"4x16", 4}};
constexpr const Tile& kLeast = kTiles[std::size(kTiles) - 1];
constexpr int64_t kColumns = 16, kWarps = 4;
constexpr std::string_view kTile = "hussar_tile";
// What a block may have on every GPU with tensor cores.
constexpr int64_t kMostShared = 99 * 1024;

// PATCH_STAGES and sizes of device/convolution_patch.cuh; no stages: they do not fit.
struct Form {
  int64_t rows, stages, weight_bytes, patch_bytes;
  int64_t shared_bytes() const { return weight_bytes + stages * patch_bytes; }
};

int64_t warps_n(const PatchWork& work) { return (work.filters + 31) / 32; }

Form form_of(const PatchWork& work, DType dtype, int64_t rows) {
  const auto element = static_cast<int64_t>(dtype_size(dtype));
  const int64_t columns = (kColumns - 1) * work.strides[1] + work.kernel[1];
  const int64_t planes = (columns + work.strides[1] - 1) / work.strides[1] * work.strides[1];
  Form form{rows, 2, 32 * warps_n(work) * work.k() * element, 0};
  form.patch_bytes = ((rows - 1) * work.strides[0] + work.kernel[0]) * planes * work.channels * element;
  while (form.stages > 0 && form.shared_bytes() > kMostShared) --form.stages;
  return form;
}

int64_t tiles_of(const PatchWork& work, int64_t rows) {
  return work.batch * ((work.rows + rows - 1) / rows) * ((work.columns + kColumns - 1) / kColumns);
}

// Blocks that a multiprocessor has room for, more or less.
int64_t blocks_of(const PatchWork& work, const Form& form) {
  constexpr int64_t kShared = 200 * 1024, kThreads = 1024;
  return std::clamp<int64_t>(std::min(kShared / form.shared_bytes(), kThreads / (32 * kWarps * warps_n(work))), 1, 8);
}

// All multiprocessors take a turn after the other.
double time_of(const PatchWork& work, DType dtype, const Problem& problem, int64_t rows) {
  constexpr double kRate = 0.4, kTurn = 0.8;
  const double peak = peak_flops(product_input(dtype, problem.target));
  const double flops = 2.0 * static_cast<double>(rows * kColumns * 32 * warps_n(work) * work.k());
  const double turns = std::ceil(static_cast<double>(tiles_of(work, rows)) / kUsualMultiprocessors);
  const auto beside = static_cast<double>(blocks_of(work, form_of(work, dtype, rows)));
  const double sums = turns * (flops * kUsualMultiprocessors / (peak * kRate) + kTurn / beside);
  // A block waits for its patch, and reaches less of the memory's speed than the copy engine.
  return std::max(memory_cost(problem, 1.2), kLaunchMicroseconds + sums);
}

bool has_tile(const PatchWork& work, DType dtype, const Tile& tile) {
  return form_of(work, dtype, tile.rows).stages > 0;
}

// What is multiplied: pictures of floats are rounded to what the filter has, and filters of bytes go with unsigned
// bytes.
DType factor_type(DType x, DType w) { return w == DType::kInt8 ? x : w; }

// The rows of the tile that the node asks for, or of the best.
int64_t rows_of(const PatchWork& work, DType dtype, const Problem& problem) {
  const Tile* wanted = configured_tile<Tile>(kTiles, problem.node);
  if (wanted != nullptr && has_tile(work, dtype, *wanted)) return wanted->rows;
  int64_t best = kLeast.rows;
  for (const Tile& tile : kTiles) {
    if (has_tile(work, dtype, tile) && time_of(work, dtype, problem, tile.rows) < time_of(work, dtype, problem, best))
      best = tile.rows;
  }
  return best;
}

}  // namespace

Refusal check_patch_work(const PatchWork& work, DType dtype) {
  constexpr int64_t kMostFilters = 128, kMostTaps = 25, kMostStride = 2;
  if (work.strides[0] > kMostStride || work.strides[1] > kMostStride) return "strides";
  const bool fits = work.kernel[0] * work.kernel[1] <= kMostTaps && work.filters <= kMostFilters;
  if (!fits || !has_tile(work, dtype, kLeast)) return "too many weights for a block";
  const int64_t entry = work.channels * static_cast<int64_t>(dtype_size(dtype));
  return entry % 32 == 0 ? Refusal() : Refusal("channels are not multiples of 32 bytes");
}

Refusal check_patch_input(const Problem& problem, size_t factors) {
  if (problem.target.sm < kTensorCores) return "needs tensor cores (sm_80)";
  const bool is_fp32 = product_input(problem.dtype(factors), problem.target) == ProductInput::kFp32;
  return is_fp32 ? Refusal("FP32 without TF32") : Refusal();
}

double patch_time(const PatchWork& work, DType dtype, const Problem& problem) {
  return time_of(work, dtype, problem, rows_of(work, dtype, problem));
}

std::vector<Configuration> patch_configurations(const PatchWork& work, DType dtype, const Problem& problem) {
  const int64_t usual = rows_of(work, dtype, problem);
  std::vector<Configuration> list;
  for (const Tile& tile : kTiles) {
    if (tile.rows != usual && has_tile(work, dtype, tile))
      list.push_back({tile.name, time_of(work, dtype, problem, tile.rows)});
  }
  return list;
}

Status attach_patches(Packing& packing, const PatchWork& work, Defines defines) {
  Node& node = packing.node;
  const DType dtype = factor_type(node.inputs[0]->dtype, node.inputs[1]->dtype);
  const Form form = form_of(work, dtype, rows_of(work, dtype, {node, packing.target}));
  node.attributes.set(kTile, Ints{form.rows, form.stages});
  define_input(node, product_input(dtype, packing.target), defines);
  defines.set("PRODUCT_DEPENDENT_LAUNCH", packing.target.sm >= 90).set("PRODUCT_N", work.filters);
  defines.set("PATCH_ROWS", form.rows).set("PATCH_WARPS", kWarps).set("PATCH_STAGES", form.stages);
  defines.set("PATCH_CHANNELS", work.channels);
  defines.set("PATCH_KERNEL_1", work.kernel[0]).set("PATCH_KERNEL_2", work.kernel[1]);
  defines.set("PATCH_STRIDE_1", work.strides[0]).set("PATCH_STRIDE_2", work.strides[1]);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(node)) +
                                  assemble({}, {"half.cuh", "product_contract.cuh", "shared_copies.cuh",
                                                "warp_product.cuh", "convolution_patch.cuh"}));
}

Status prepare_patches(Prepare& prepare, const PatchWork& work, const Convolution& conv) {
  PatchLaunch& launch = prepare.state_as<PatchLaunch>();
  const PlanStep& step = prepare.step;
  const DType dtype = factor_type(prepare.inputs[0].dtype, prepare.inputs[1].dtype);
  const Ints tile = step.attributes.get_ints(kTile);
  const bool fits = tile.size() == 2 && tile[0] > 0 && tile[0] <= kTiles[0].rows && !check_patch_work(work, dtype);
  const Form form = fits ? form_of(work, dtype, tile[0]) : Form{};
  HUSSAR_CHECK(fits && form.stages == tile[1], ErrorCode::kPlanIncompatible,
               "step '{}' has no such tile; build the plan again", step.name);
  constexpr int64_t kMost = int64_t{1} << 31;
  HUSSAR_CHECK(conv.y_pitch < kMostPitch && conv.pixels() < kMost && conv.pixels() * conv.y_pitch < kMost,
               ErrorCode::kUsage, "step '{}': the picture is too large", step.name);
  HUSSAR_TRY(launch.epilogue.prepare(prepare));
  launch.sizes = sizes_of({conv.pixels(), work.filters, work.k(), 0, work.k(), conv.y_pitch});
  auto number = [](int64_t value) { return static_cast<int32_t>(value); };
  launch.patches = {steps_of(conv, prepare.inputs[0].layout),
                    number(conv.input[1]),
                    number(conv.input[2]),
                    number(work.rows),
                    number(work.columns),
                    number(conv.pads[1]),
                    number(conv.pads[2]),
                    number(tiles_of(work, form.rows)),
                    number((work.rows + form.rows - 1) / form.rows),
                    number((work.columns + kColumns - 1) / kColumns)};
  Queue& queue = queue_of(prepare.device);
  launch.launch = Launch{};
  launch.launch.grid[0] = static_cast<unsigned>(
      std::min<int64_t>(launch.patches.tiles, queue.facts().multiprocessors * blocks_of(work, form)));
  launch.launch.threads = static_cast<unsigned>(32 * kWarps * warps_n(work));
  launch.launch.shared_bytes = static_cast<unsigned>(form.shared_bytes());
  launch.launch.function = HUSSAR_TRY(queue.load(prepare.code, "convolve_patches", launch.launch.shared_bytes));
  return {};
}

Status run_patches(const Run& run) {
  const PatchLaunch& state = run.state_as<PatchLaunch>();
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

}  // namespace hussar::cuda
