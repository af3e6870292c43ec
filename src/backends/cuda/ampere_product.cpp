// Tiles of products on GPUs from Ampere on.
#include "backends/cuda/ampere_product.h"

#include "backends/cuda/byte_product.h"
#include "backends/cuda/results.h"
#include "backends/cuda/sparse_weights.h"

namespace hussar::cuda {
namespace {

constexpr AmpereTile kTensorTiles[] = {{"128x128", 128, 128, 2, 4, 3, 1.0},
                                       {"128x64", 128, 64, 4, 1, 3, 0.85},
                                       {"64x128", 64, 128, 2, 2, 3, 0.85},
                                       {"64x64", 64, 64, 2, 2, 4, 0.7}};
constexpr AmpereTile kThinTiles[] = {{"128x128", 128, 128, 4, 2, 3, 1.0},
                                     {"128x64", 128, 64, 4, 1, 3, 0.85},
                                     {"64x128", 64, 128, 2, 2, 4, 0.85},
                                     {"64x64", 64, 64, 2, 2, 4, 0.7}};
constexpr AmpereTile kFloatTiles[] = {{"128x128", 128, 128, 4, 2, 2, 1.0}, {"64x64", 64, 64, 2, 1, 3, 0.7}};
constexpr std::string_view kTile = "hussar_tile";
// How much faster sparse tiles are, estimated: twice at most, less what both have to load. On Hopper dense products of
// warpgroups are faster still.
constexpr double kSparseGain = 1.4;

// For tensor cores, and for FP32.
std::span<const AmpereTile> tiles_of(ProductInput input, bool sparse) {
  if (sparse) return kThinTiles;
  return input == ProductInput::kFp32 ? std::span<const AmpereTile>(kFloatTiles)
                                      : std::span<const AmpereTile>(kTensorTiles);
}

double time_of(const AmpereTile& tile, const DenseProduct& product, ProductInput input, bool sparse) {
  const double peak = peak_flops(input) * (sparse ? kSparseGain : 1);
  const double rate = peak * tile.rate / kUsualMultiprocessors;
  const int64_t rows = (product.expected_m() + tile.rows - 1) / tile.rows;
  const int64_t tiles = rows * ((product.n + tile.columns - 1) / tile.columns);
  const double waves = std::ceil(static_cast<double>(tiles) / kUsualMultiprocessors);
  return waves * 2.0 * tile.rows * tile.columns * static_cast<double>(product.k) / rate;
}

// For all rows, whatever is expected of them: which one it is shall not depend on who asks.
AmpereTile best_tile(DenseProduct product, ProductInput input, bool sparse) {
  product.rows = 1;
  const auto tiles = tiles_of(input, sparse);
  AmpereTile best = tiles[0];
  for (const AmpereTile& tile : tiles) {
    if (time_of(tile, product, input, sparse) < time_of(best, product, input, sparse)) best = tile;
  }
  return best;
}

// The one that the node asks for, or else the best.
AmpereTile tile_of(const Node& node, const DenseProduct& product, ProductInput input, bool sparse) {
  const AmpereTile* wanted = configured_tile<AmpereTile>(tiles_of(input, sparse), node);
  return wanted != nullptr ? *wanted : best_tile(product, input, sparse);
}

}  // namespace

Refusal check_ampere_types(const Problem& problem) {
  if (problem.target.sm < kTensorCores) return "needs tensor cores (sm_80)";
  const DType output = problem.output()->dtype;
  if (problem.dtype(0) == kFp8 && problem.target.sm < kFp8Cores) return "needs FP8 tensor cores (sm_89)";
  if (is_byte_product(problem.node.op)) return is_float(output) || is_quantized(output) ? Refusal() : Refusal("dtype");
  const bool writes = is_float(output) || (problem.node.op == kConvToBytes && is_quantized(output));
  if (!is_float(problem.dtype(0)) || !writes) return "dtype";
  return problem.dtype(0) == problem.dtype(1) ? Refusal() : Refusal("dtype");
}

Refusal check_sparse(const Problem& problem, const Refusal& of_shapes) {
  if (of_shapes && *of_shapes == "op") return of_shapes;
  if (!problem.target.no_sparsity.empty()) return std::string(problem.target.no_sparsity);
  if (has_weight_form(problem.node) && shared_columns(problem.node) == 0) return kNotTwoOfFour;
  if (of_shapes) return of_shapes;
  if (Refusal refusal = check_ampere_types(problem)) return refusal;
  return problem.dtype(0) == DType::kFloat32 ? Refusal("no sparse products of FP32 and TF32") : Refusal();
}

Refusal check_ampere_sparse(const Problem& problem, const Refusal& of_shapes) {
  if (Refusal refusal = check_sparse(problem, of_shapes)) return refusal;
  // The compiler makes it of other instructions, and runs out of registers.
  const bool lacks = problem.dtype(0) == kFp8 && problem.target.sm == 90;
  return lacks ? Refusal("needs mma.sp of FP8, which Hopper lacks") : Refusal();
}

ProductInput product_input(DType dtype, const Target& target) {
  if (dtype == DType::kFloat16) return ProductInput::kFp16;
  if (dtype == DType::kBFloat16) return ProductInput::kBf16;
  if (dtype == DType::kUInt8 || dtype == DType::kInt8) return ProductInput::kInt8;
  if (dtype == kFp8) return ProductInput::kFp8;
  return target.no_tf32.empty() ? ProductInput::kTf32 : ProductInput::kFp32;
}

double peak_flops(ProductInput input) {
  constexpr double kPeaks[] = {4.5e8, 2.2e8, 4e7, 9e8, 9e8, 4.5e8};
  return kPeaks[static_cast<int>(input)];
}

double ampere_time(const DenseProduct& product, const Problem& problem, bool sparse) {
  const ProductInput input = product_input(problem.dtype(0), problem.target);
  return time_of(best_tile(product, input, sparse), product, input, sparse);
}

std::vector<Configuration> ampere_configurations(const DenseProduct& product, const Problem& problem, double least,
                                                 double factor) {
  const ProductInput input = product_input(problem.dtype(0), problem.target);
  const std::string_view usual = best_tile(product, input, true).name;
  std::vector<Configuration> list;
  for (const AmpereTile& tile : kThinTiles) {
    if (tile.name != usual) list.push_back({tile.name, least + factor * time_of(tile, product, input, true)});
  }
  return list;
}

void define_types(const Node& node, ProductInput input, Defines& defines) {
  constexpr std::string_view kNames[] = {"PRODUCT_FP16", "PRODUCT_TF32", "PRODUCT_FP32",
                                         "PRODUCT_INT8", "PRODUCT_FP8",  "PRODUCT_BF16"};
  const DType output = node.outputs[0]->dtype;
  defines.set("PRODUCT_INPUT", kNames[static_cast<int>(input)]);
  if (node.inputs[0]->dtype == DType::kInt8) defines.set("PRODUCT_X_SIGNED", 1);
  defines.set("PRODUCT_OUTPUT", output == DType::kFloat16    ? "PRODUCT_HALVES"
                                : output == DType::kBFloat16 ? "PRODUCT_BFLOATS"
                                : is_quantized(output)       ? "PRODUCT_BYTES"
                                                             : "PRODUCT_FLOATS");
}

void define_input(Node& node, ProductInput input, Defines& defines) {
  define_types(node, input, defines);
  define_results(node, input != ProductInput::kFp32, defines);
  if (input == ProductInput::kTf32) node.attributes.set(kTf32Attribute, int64_t{1});
}

void define_ampere(Node& node, const DenseProduct& product, const Target& target, Defines& defines, bool sparse) {
  const ProductInput input = product_input(node.inputs[0]->dtype, target);
  const AmpereTile tile = tile_of(node, product, input, sparse);
  node.attributes.set(kTile, Ints{tile.rows, tile.columns, tile.warps_m * tile.warps_n, tile.stages});
  define_input(node, input, defines);
  defines.set("PRODUCT_DEPENDENT_LAUNCH", target.sm >= 90);
  defines.set("PRODUCT_N", product.n)
      .set("PRODUCT_K", product.k)
      .set("PRODUCT_Y_PITCH", product.y_pitch)
      .set("PRODUCT_SPARSE", sparse);
  defines.set("PRODUCT_BM", tile.rows).set("PRODUCT_BN", tile.columns).set("PRODUCT_STAGES", tile.stages);
  defines.set("PRODUCT_WARPS_M", tile.warps_m).set("PRODUCT_WARPS_N", tile.warps_n);
}

void forget_ampere(Node& node) {
  node.attributes.erase(kTile);
  node.attributes.erase(kTf32Attribute);
}

ProductSizes sizes_of(const DenseProduct& product) {
  return {product.x_pitch,
          product.w_pitch,
          product.y_pitch,
          0,
          0,
          0,
          static_cast<int32_t>(product.m),
          static_cast<int32_t>(product.n),
          static_cast<int32_t>(product.k),
          1};
}

Status check_alignment(const PlanStep& step, const DenseProduct& product) {
  const int64_t chunk = is_byte_product(step.op) ? 16 : 8;
  HUSSAR_CHECK(product.n % 8 == 0 && product.k % chunk == 0 && product.x_pitch % chunk == 0 && product.y_pitch % 8 == 0,
               ErrorCode::kPlanIncompatible, "step '{}': its rows are not multiples of 16 bytes; build the plan again",
               step.name);
  return {};
}

Status prepare_ampere(const Prepare& prepare, const DenseProduct& product, AmpereLaunch& launch, bool sparse) {
  const PlanStep& step = prepare.step;
  const Ints tile = step.attributes.get_ints(kTile);
  HUSSAR_CHECK(tile.size() == 4 && *std::min_element(tile.begin(), tile.end()) > 0, ErrorCode::kPlanIncompatible,
               "step '{}' has no tile; build the plan again", step.name);
  HUSSAR_TRY(launch.epilogue.prepare(prepare));
  const int64_t tiles = (product.m + tile[0] - 1) / tile[0] * ((product.n + tile[1] - 1) / tile[1]);
  HUSSAR_CHECK(product.m < (int64_t{1} << 31) && product.y_pitch < kMostPitch && tiles < (int64_t{1} << 31),
               ErrorCode::kUsage, "step '{}': the product is too large", step.name);
  launch.sizes = sizes_of(product);
  launch.launch = Launch{};
  launch.launch.grid[0] = static_cast<unsigned>(tiles);
  launch.launch.threads = static_cast<unsigned>(32 * tile[2]);
  constexpr int64_t kRowBytes = 128;
  int64_t w_bytes = kRowBytes;
  if (sparse) {
    HUSSAR_TRY(check_alignment(step, product));
    const DType dtype = prepare.inputs[0].dtype;
    launch.sizes.w_pitch = sparse_sizes(product.n, product.k, ampere_order(dtype), dtype).row_elements;
    w_bytes = kRowBytes / 2 + 16 / static_cast<int64_t>(dtype_size(dtype));
  }
  launch.launch.shared_bytes = static_cast<unsigned>(tile[3] * (tile[0] * kRowBytes + tile[1] * w_bytes));
  launch.launch.function =
      HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "hussar_product", launch.launch.shared_bytes));
  return {};
}

Status launch_ampere(const Run& run, const AmpereLaunch& launch, const std::byte* x, void* windows) {
  Words fused;
  launch.epilogue.put(run, fused);
  const std::byte* w = run.inputs[1].data;
  std::byte* y = run.outputs[0].data;
  ProductSizes sizes = launch.sizes;
  const int32_t* rows = run.row_count.of(launch.sizes.m);
  void* arguments[7] = {&x, &w, &y, &sizes, fused.data()};
  size_t count = 5;
  if (windows != nullptr) arguments[count++] = windows;
  arguments[count++] = &rows;
  return queue_of(run.device).launch(launch.launch, {arguments, count});
}

}  // namespace hussar::cuda
