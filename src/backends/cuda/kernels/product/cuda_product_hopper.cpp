// cuda_product_hopper: dense products of halves on Hopper, with its copy engine and warpgroup products.
#include "backends/cuda/ampere_product.h"

namespace hussar {
namespace {

using namespace cuda;

// Tiles of device/product_hopper.cuh. `rate`: the share of the peak that a full wave of them reaches, about.
struct Tile {
  int64_t rows, columns, pingpong, cluster_m, cluster_n, split, stages;
  double rate;
  int64_t blocks() const { return cluster_m * cluster_n * split; }
};
constexpr Tile kTiles[] = {
    {128, 256, 0, 2, 1, 1, 4, 1.01}, {128, 256, 0, 1, 1, 1, 4, 1.0}, {256, 128, 0, 1, 1, 1, 4, 0.97},
    {128, 192, 0, 1, 1, 1, 5, 0.92}, {128, 128, 0, 1, 1, 1, 7, 0.8}, {128, 128, 0, 1, 1, 2, 7, 0.8},
    {128, 64, 0, 1, 1, 1, 9, 0.58},  {128, 64, 0, 1, 1, 2, 9, 0.56}, {128, 64, 0, 1, 1, 4, 9, 0.55},
    {64, 64, 1, 1, 1, 1, 12, 0.42},
};
constexpr std::string_view kTile = "hussar_tile";
constexpr int64_t kMultiprocessors = 132;

int64_t clusters_of(const Tile& tile, const DenseProduct& product) {
  const int64_t rows = tile.rows * tile.cluster_m, columns = tile.columns * tile.cluster_n;
  return (product.m + rows - 1) / rows * ((product.n + columns - 1) / columns);
}

// Microseconds.
double time_of(const Tile& tile, const DenseProduct& product) {
  constexpr double kFlopsOfOne = 5.4e6, kStart = 1.5, kCluster = 0.8;
  const double waves = std::ceil(static_cast<double>(clusters_of(tile, product)) /
                                 static_cast<double>(kMultiprocessors / tile.blocks()));
  const auto flops = static_cast<double>(2 * tile.rows * tile.columns * product.k / tile.split);
  return kStart + (tile.split > 1 ? kCluster : 0) + waves * flops / (kFlopsOfOne * tile.rate);
}

Tile best_tile(const DenseProduct& product) {
  Tile best = kTiles[0];
  for (const Tile& tile : kTiles) {
    // Every part of a split sum has something to do.
    if (product.k < 64 * tile.split) continue;
    if (time_of(tile, product) < time_of(best, product)) best = tile;
  }
  return best;
}

Refusal supports(const Problem& problem) {
  if (problem.target.sm != 90) return "needs Hopper (sm_90)";
  if (Refusal refusal = check_dense_product(problem)) return refusal;
  if (problem.dtype(0) != DType::kFloat16) return "dtype";
  return check_ampere_types(problem);
}

double cost(const Problem& problem) {
  auto product = dense_product(problem.node);
  return product ? std::max(memory_cost(problem), time_of(best_tile(*product), *product)) : 1e9;
}

Status pack(Packing& packing) {
  turn_weights(packing);
  Node& node = packing.node;
  const DenseProduct product = HUSSAR_TRY(dense_product(node));
  const Tile tile = best_tile(product);
  node.attributes.set(kTile, Ints{tile.rows, tile.columns, tile.cluster_m, tile.cluster_n, tile.split, tile.stages});
  Defines defines;
  defines.set("PRODUCT_INPUT", "PRODUCT_FP16").set("HALF_RESULTS", node.outputs[0]->dtype == DType::kFloat16);
  // Residuals are on their way together where nothing else runs meanwhile.
  defines.set("PRODUCT_EPILOGUE_BATCH", node.program && node.program->operand_count > 1 ? 8 : 4);
  defines.set("PRODUCT_OUTPUT_HALF", node.outputs[0]->dtype == DType::kFloat16);
  defines.set("PRODUCT_N", product.n).set("PRODUCT_K", product.k).set("PRODUCT_DEPENDENT_LAUNCH", 1);
  defines.set("PRODUCT_BM", tile.rows).set("PRODUCT_BN", tile.columns).set("PRODUCT_PINGPONG", tile.pingpong);
  defines.set("PRODUCT_CLUSTER_M", tile.cluster_m).set("PRODUCT_CLUSTER_N", tile.cluster_n);
  defines.set("PRODUCT_SPLIT", tile.split).set("PRODUCT_STAGES", tile.stages);
  return attach_code(packing,
                     assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(node, bias_input(node))) +
                         assemble({}, {"half.cuh", "product_contract.cuh", "hopper_pipeline.cuh", "hopper_wgmma.cuh",
                                       "product_hopper.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kTile);
  return {};
}

struct State {
  Launch launch;
  ProductSizes sizes;
  EpilogueState epilogue;
  TileMap x, w;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const PlanStep& step = prepare.step;
  const DenseProduct product =
      HUSSAR_TRY(dense_product(step.op, step.attributes, prepare.inputs[0], prepare.inputs[1], prepare.outputs[0]));
  const Ints list = step.attributes.get_ints(kTile);
  HUSSAR_CHECK(list.size() == 6 && *std::min_element(list.begin(), list.end()) > 0, ErrorCode::kPlanIncompatible,
               "step '{}' has no tile; build the plan again", step.name);
  HUSSAR_CHECK(product.m < (int64_t{1} << 31), ErrorCode::kUsage, "step '{}': the product is too large", step.name);
  const Tile tile{list[0], list[1], 0, list[2], list[3], list[4], list[5], 1};
  HUSSAR_TRY(state.epilogue.prepare(prepare, bias_input(step)));
  state.sizes = sizes_of(product);
  const int64_t clusters = clusters_of(tile, product);
  const int64_t slots = std::max<int64_t>(queue_of(prepare.device).facts().multiprocessors / tile.blocks(), 1);
  state.launch = Launch{};
  state.launch.grid[0] = static_cast<unsigned>((tile.split > 1 ? clusters : std::min(clusters, slots)) * tile.blocks());
  state.launch.threads = 384;
  state.launch.shared_bytes = static_cast<unsigned>(1024 + tile.stages * ((tile.rows + tile.columns) * 128 + 16));
  state.launch.function =
      HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "hussar_product", state.launch.shared_bytes));
  const auto m = static_cast<uint64_t>(product.m), n = static_cast<uint64_t>(product.n);
  const auto k = static_cast<uint64_t>(product.k);
  const auto x_pitch = static_cast<uint64_t>(product.x_pitch) * 2, w_pitch = static_cast<uint64_t>(product.w_pitch) * 2;
  state.x = {3, {k, m, 1}, {x_pitch, x_pitch * m}, {64, static_cast<uint32_t>(tile.rows / tile.cluster_n), 1}};
  state.w = {5, {k, 2, n / 8, 4, 1}, {w_pitch, 8 * w_pitch, 2 * w_pitch, w_pitch * n}, {64, 2, 4, 4, 1}};
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.sizes.m == 0) return {};
  Queue& queue = queue_of(run.device);
  TensorMap x = HUSSAR_TRY(queue.encode(state.x, run.inputs[0].data));
  TensorMap w = HUSSAR_TRY(queue.encode(state.w, run.inputs[1].data));
  Words fused;
  state.epilogue.put(run, fused);
  std::byte* y = run.outputs[0].data;
  ProductSizes sizes = state.sizes;
  void* const arguments[] = {&x, &w, &y, &sizes, fused.data()};
  return queue.launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_product_hopper_kernel = {.name = "cuda_product_hopper",
                                                  .place = Place::kDevice,
                                                  .state_bytes = sizeof(State),
                                                  .prepare = prepare,
                                                  .run = run};
extern const Tactic cuda_product_hopper_tactic = {.kernel = "cuda_product_hopper",
                                                  .place = Place::kDevice,
                                                  .supports = supports,
                                                  .cost = cost,
                                                  .pack = pack,
                                                  .unpack = unpack};

}  // namespace hussar
