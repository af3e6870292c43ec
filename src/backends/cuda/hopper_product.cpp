// Tiles of products on Hopper: its copy engine and warpgroup products.
#include "backends/cuda/hopper_product.h"

#include "backends/cuda/byte_product.h"
#include "backends/cuda/sparse_weights.h"
#include "tensor/conv_sum.h"

namespace hussar::cuda {
namespace {

// Tiles of device/product_hopper.cuh; their columns are those of W. `rate`: the share of the peak that a full wave of
// them reaches, about.
struct Tile {
  std::string_view name;  // as a configuration
  int64_t rows, columns, pingpong, cluster_m, cluster_n, split, stages;
  double rate;
  int64_t per_sm = 1;  // blocks that a multiprocessor has room for
  bool near = false;   // brings an operand of the epilogue near
  int64_t blocks() const { return cluster_m * cluster_n * split; }
};
constexpr Tile kTiles[] = {
    {"pair_128x256", 128, 256, 0, 2, 1, 1, 4, 1.01},
    {"128x256", 128, 256, 0, 1, 1, 1, 4, 1.0},
    {"256x128", 256, 128, 0, 1, 1, 1, 4, 0.97},
    {"pair_256x128", 256, 128, 0, 2, 1, 1, 4, 0.97},
    {"quad_128x256", 128, 256, 0, 2, 2, 1, 4, 1.02},
    {"pair_turns_128x128", 128, 128, 1, 2, 1, 1, 6, 0.9},
    {"quad_turns_128x128", 128, 128, 1, 2, 2, 1, 6, 0.9},
    {"128x192", 128, 192, 0, 1, 1, 1, 5, 0.92},
    {"turns_128x128", 128, 128, 1, 1, 1, 1, 6, 0.85},
    {"128x128", 128, 128, 0, 1, 1, 1, 7, 0.8},
    {"128x128_by_2", 128, 128, 0, 1, 1, 2, 7, 0.8},
    {"128x128_by_4", 128, 128, 0, 1, 1, 4, 7, 0.8},
    // Where a wave of wider tiles leaves multiprocessors idle: 3 x 43 for 384 rows and 4,096 columns.
    {"128x96", 128, 96, 0, 1, 1, 1, 8, 0.7},
    {"128x64", 128, 64, 0, 1, 1, 1, 9, 0.58},
    {"128x64_by_2", 128, 64, 0, 1, 1, 2, 9, 0.56},
    {"128x64_by_4", 128, 64, 0, 1, 1, 4, 9, 0.55},
    {"128x64_by_8", 128, 64, 0, 1, 1, 8, 9, 0.54},
    {"turns_64x128", 64, 128, 1, 1, 1, 1, 9, 0.55},
    {"turns_64x64", 64, 64, 1, 1, 1, 1, 12, 0.42},
    // Where little is multiplied, the ends of tiles are what takes time: more warps at work on them.
    {"two_128x64", 128, 64, 0, 1, 1, 1, 4, 0.29, 2},
    {"two_turns_64x64", 64, 64, 1, 1, 1, 1, 6, 0.21, 2},
    // With 64 columns, each row of W is brought for half as many rows of X otherwise.
    {"256x64", 256, 64, 0, 1, 1, 1, 5, 0.6},
    // And where they wait for a shortcut that is added.
    {"near_128x128", 128, 128, 0, 1, 1, 1, 4, 0.8, 1, true},
    {"near_turns_128x128", 128, 128, 1, 1, 1, 1, 4, 0.85, 1, true},
    {"near_128x256", 128, 256, 0, 1, 1, 1, 2, 0.8, 1, true},
    {"near_256x128", 256, 128, 0, 1, 1, 1, 2, 0.8, 1, true},
    {"near_two_128x64", 128, 64, 0, 1, 1, 1, 3, 0.29, 2, true},
    {"near_two_turns_64x64", 64, 64, 1, 1, 1, 1, 5, 0.21, 2, true},
};
// For weights of which two of four are zero.
constexpr Tile kSparseTiles[] = {
    {"pair_128x256", 128, 256, 0, 2, 1, 1, 6, 0.82},
    {"quad_128x256", 128, 256, 0, 2, 2, 1, 6, 0.95},
    {"wide_pair_128x256", 128, 256, 0, 1, 2, 1, 6, 0.8},
    {"128x256", 128, 256, 0, 1, 1, 1, 6, 0.75},
    {"pair_turns_128x128", 128, 128, 1, 2, 1, 1, 8, 0.8},
    {"quad_turns_128x128", 128, 128, 1, 2, 2, 1, 8, 0.8},
    {"256x128", 256, 128, 0, 1, 1, 1, 5, 0.75},
    {"pair_256x128", 256, 128, 0, 1, 2, 1, 5, 0.8},
    {"128x128", 128, 128, 0, 1, 1, 1, 9, 0.6},
    {"64x256", 64, 256, 0, 1, 1, 1, 9, 0.5},
    {"64x128", 64, 128, 0, 1, 1, 1, 12, 0.35},
};
constexpr std::string_view kTileAttribute = "hussar_tile";
constexpr int64_t kMultiprocessors = 132;

int64_t clusters_of(const Tile& tile, const DenseProduct& product) {
  const int64_t rows = tile.rows * tile.cluster_m, columns = tile.columns * tile.cluster_n;
  return (product.m + rows - 1) / rows * ((product.n + columns - 1) / columns);
}

// Clusters that run at once. Those of 4 and 8 blocks do not fill all of the GPU's parts: an H200 with 132
// multiprocessors has room for 30 and 15 (cudaOccupancyMaxActiveClusters); this is on the safe side.
int64_t slots_of(const Tile& tile, int64_t multiprocessors) {
  const int64_t blocks = tile.blocks();
  if (blocks > 2) return std::max<int64_t>(multiprocessors * 7 / 8 / blocks, 1);
  return std::max<int64_t>(multiprocessors * tile.per_sm / blocks, 1);
}

std::span<const Tile> tiles_of(const HopperOperands& operands) {
  return operands.sparse ? std::span<const Tile>(kSparseTiles) : std::span<const Tile>(kTiles);
}

// Microseconds of so many sums of a tile.
double sums_of(double elements, int64_t k, const HopperOperands& operands, double rate) {
  // Power bounds what is sparse: halves reach 0.43 of what bytes do, where dense ones reach half.
  const double gain = !operands.sparse ? 1 : is_half(operands.dtype) ? 1.7 : 2;
  const double flops_of_one = gain * 1.08e7 / static_cast<double>(dtype_size(operands.dtype));
  return elements * static_cast<double>(2 * k) / (flops_of_one * rate);
}

// Microseconds.
double time_of(const Tile& tile, const DenseProduct& product, const HopperOperands& operands) {
  constexpr double kStart = 1.5, kCluster = 0.8;
  // Of an element of the result, where two blocks of a multiprocessor work on two: sums to numbers and into memory.
  constexpr double kEnd = 1e-4, kEndOfTwo = 1.2e-4, kNearer = 0.7;
  DenseProduct expected = product;
  expected.m = product.expected_m();
  const double waves = std::ceil(static_cast<double>(clusters_of(tile, expected)) /
                                 static_cast<double>(slots_of(tile, kMultiprocessors)));
  const auto elements = static_cast<double>(tile.rows * tile.columns / tile.split);
  const double sums = sums_of(elements, product.k + operands.whole_second_k(), operands, tile.rate);
  const double ends = elements * (tile.per_sm > 1 ? kEndOfTwo : kEnd) * (tile.near ? kNearer : 1);
  // Each tile of columns brings its windows again.
  const int64_t brought = operands.second_windows ? operands.whole_second_k() / operands.block_k() : 0;
  const double copies = static_cast<double>(tile.rows / tile.cluster_n * tile.per_sm * brought) * kWindowMicroseconds;
  // Blocks that share a sum end with their tile: each wave begins anew.
  const double starts = tile.split > 1 ? waves * (kStart + kCluster) : kStart;
  return starts + waves * std::max({sums, ends, copies});
}

// Of the operand that near tiles bring; 0: there is none.
int64_t near_bytes(const Node& node) {
  const size_t input = near_operand(node);
  return input == 0 ? 0 : static_cast<int64_t>(dtype_size(node.inputs[input]->dtype));
}

// Every part of a split sum has something to do.
bool fits(const Tile& tile, const DenseProduct& product, const HopperOperands& operands, int64_t near) {
  if (tile.near && (near == 0 || tile.columns * near % 128 != 0)) return false;
  if (operands.second_depth > 0) {
    // Registers for sums that are kept apart: 64 of each set, 32 where two blocks share a multiprocessor.
    const int64_t rows = tile.pingpong != 0 ? tile.rows : tile.rows / 2;
    return tile.split == 1 && !tile.near && (!operands.has_sums_apart() || rows * tile.columns <= 8192);
  }
  return product.k >= operands.block_k() * tile.split;
}

// For all rows, whatever is expected of them: which one it is shall not depend on who asks.
Tile best_tile(DenseProduct product, const HopperOperands& operands) {
  product.rows = 1;
  const auto tiles = tiles_of(operands);
  auto fitting = [&](const Tile& tile) { return fits(tile, product, operands, 0); };
  Tile best = tiles[1];
  if (!fitting(best) && operands.second_depth > 0) best = *std::find_if(tiles.begin(), tiles.end(), fitting);
  for (const Tile& tile : tiles) {
    if (!fitting(tile)) continue;
    if (time_of(tile, product, operands) < time_of(best, product, operands)) best = tile;
  }
  return best;
}

// What is added is loaded a batch ahead, so that there are registers for less of it; that of sparse weights is short.
int64_t epilogue_batch(const Node& node, const Tile& tile, const HopperOperands& operands) {
  const size_t own = node.program ? static_cast<size_t>(node.program_inputs) : node.inputs.size();
  // Three numbers for each column do not fit half of the registers.
  const bool has_three = run_scales(node.op, operands.dtype, own) == RunScales::kTensor || operands.has_sums_apart();
  if (tile.per_sm > 1 && has_three) return 2;
  if (!node.program || node.program->operand_count == 0) return operands.sparse ? 8 : 4;
  const int64_t sums = tile.rows * tile.columns / (tile.pingpong != 0 ? 128 : 256);
  return operands.sparse || sums < 128 ? 4 : 2;
}

// Of dense weights, in one copy: a block's share of a tile, if n has whole groups of 32 and there are registers for it.
int64_t weight_rows(const Tile& tile, const DenseProduct& product, const HopperOperands& operands) {
  const bool is_short = tile.per_sm > 1 && operands.has_sums_apart();
  return product.n % 32 == 0 && !is_short ? tile.columns / tile.cluster_m : 32;
}

// The one that the node asks for, or else the best.
Tile tile_of(const Node& node, const DenseProduct& product, const HopperOperands& operands) {
  const Tile* wanted = configured_tile<Tile>(tiles_of(operands), node);
  const bool can_have = wanted != nullptr && fits(*wanted, product, operands, near_bytes(node));
  return can_have ? *wanted : best_tile(product, operands);
}

}  // namespace

Refusal check_hopper(const Problem& problem) {
  if (problem.target.sm != 90) return "needs Hopper (sm_90)";
  if (problem.dtype(0) == DType::kFloat32 && !problem.target.no_tf32.empty())
    return std::string(problem.target.no_tf32);
  return check_ampere_types(problem);
}

double hopper_time(const DenseProduct& product, const HopperOperands& operands) {
  return time_of(best_tile(product, operands), product, operands);
}

double hopper_sums(int64_t rows, int64_t columns, int64_t k, const HopperOperands& operands) {
  const auto* tile = std::find_if(std::begin(kTiles), std::end(kTiles),
                                  [&](const Tile& known) { return known.rows == rows && known.columns == columns; });
  return sums_of(static_cast<double>(rows * columns), k, operands, tile->rate);
}

std::vector<Configuration> hopper_configurations(const Node& node, const DenseProduct& product,
                                                 const HopperOperands& operands, double least) {
  constexpr double kAmongEqual = 0.01;
  std::vector<Configuration> list;
  const std::string_view usual = best_tile(product, operands).name;
  const int64_t near = near_bytes(node);
  for (const Tile& tile : tiles_of(operands)) {
    if (tile.name == usual || !fits(tile, product, operands, near)) continue;
    // Those that all wait for the memory are told apart, too.
    const double time = time_of(tile, product, operands);
    list.push_back({tile.name, std::max(least, time) + kAmongEqual * time});
  }
  return list;
}

Status attach_hopper(Packing& packing, const DenseProduct& product, const HopperOperands& operands, Defines defines,
                     std::initializer_list<std::string_view> more) {
  Node& node = packing.node;
  const Tile tile = tile_of(node, product, operands);
  const size_t near = tile.near ? near_operand(node) : 0;
  node.attributes.set(kTileAttribute, Ints{tile.rows, tile.columns, tile.cluster_m, tile.cluster_n, tile.split,
                                           tile.stages, tile.per_sm, static_cast<int64_t>(near)});
  define_input(node, product_input(operands.dtype, packing.target), defines);
  defines.set("PRODUCT_NEAR", near == 0 ? int64_t{0} : near_bytes(node));
  defines.set("PRODUCT_EPILOGUE_BATCH", epilogue_batch(node, tile, operands));
  defines.set("PRODUCT_DEPENDENT_LAUNCH", 1).set("PRODUCT_SPARSE", operands.sparse);
  defines.set("PRODUCT_ROW_BYTES", operands.row_bytes());
  if (!operands.sparse) defines.set("PRODUCT_W_ROWS", weight_rows(tile, product, operands));
  defines.set("PRODUCT_N", product.n).set("PRODUCT_K", product.k).set("PRODUCT_Y_PITCH", product.y_pitch);
  if (operands.second_depth > 0)
    defines.set("PRODUCT_SECOND", operands.has_sums_apart() ? 2 : 1)
        .set("PRODUCT_SECOND_K", operands.second_depth)
        .set("PRODUCT_SECOND_WINDOWS", operands.second_windows);
  defines.set("PRODUCT_BM", tile.rows).set("PRODUCT_BN", tile.columns).set("PRODUCT_PINGPONG", tile.pingpong);
  defines.set("PRODUCT_CLUSTER_M", tile.cluster_m).set("PRODUCT_CLUSTER_N", tile.cluster_n);
  defines.set("PRODUCT_SPLIT", tile.split).set("PRODUCT_STAGES", tile.stages).set("PRODUCT_BLOCKS_PER_SM", tile.per_sm);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(node, near)) +
                                  assemble({}, {"half.cuh", "product_contract.cuh"}) + assemble({}, more) +
                                  assemble({}, {"hopper_pipeline.cuh", "hopper_wgmma.cuh", "hopper_work.cuh",
                                                "hopper_tiles.cuh", "product_hopper.cuh"}));
}

void forget_hopper(Node& node) {
  node.attributes.erase(kTileAttribute);
  node.attributes.erase(kTf32Attribute);
}

namespace {

// nullopt: the attributes name no order.
std::optional<SparseOrder> order_of(const Attributes& attributes, DType dtype) {
  const int64_t group = attributes.get_int(kSparseGroup, 0);
  return group == 64 || group == 128 ? std::optional(hopper_order(group, dtype)) : std::nullopt;
}

}  // namespace

Status pack_hopper_sparse(Packing& packing, const DenseProduct& product, Defines defines) {
  Node& node = packing.node;
  const HopperOperands operands{node.inputs[0]->dtype, product.k, true};
  const Tile tile = tile_of(node, product, operands);
  // The columns that a warpgroup has: kGroupN of device/product_hopper.cuh.
  const int64_t group = tile.pingpong != 0 ? tile.columns : tile.columns / 2;
  node.attributes.set(kSparseGroup, group);
  make_table(packing);
  pack_sparse(packing, hopper_order(group, operands.dtype));
  return attach_hopper(packing, product, operands, std::move(defines));
}

Status unpack_hopper_sparse(Packing& packing) {
  Node& node = packing.node;
  const auto order = order_of(node.attributes, node.inputs[0]->dtype);
  HUSSAR_CHECK(order, ErrorCode::kPlanIncompatible, "{}: its weights are not what they were", describe(node));
  forget_hopper(node);
  node.attributes.erase(kSparseGroup);
  HUSSAR_TRY(unpack_sparse(packing, *order));
  return is_byte_product(node.op) ? forget_table(packing) : Status();
}

Result<Operand> hopper_sparse_weights(const Prepare& prepare) {
  const PlanStep& step = prepare.step;
  const auto order = order_of(step.attributes, prepare.inputs[0].dtype);
  HUSSAR_CHECK(order, ErrorCode::kPlanIncompatible, "step '{}': malformed sparse weights", step.name);
  return sparse_weights(prepare, *order);
}

Status prepare_hopper(const Prepare& prepare, const DenseProduct& product, const HopperOperands& operands,
                      HopperLaunch& launch) {
  const PlanStep& step = prepare.step;
  const Ints list = step.attributes.get_ints(kTileAttribute);
  HUSSAR_CHECK(list.size() == 8 && *std::min_element(list.begin(), list.end() - 1) > 0 && list[7] >= 0 &&
                   list[7] < std::ssize(prepare.inputs),
               ErrorCode::kPlanIncompatible, "step '{}' has no tile; build the plan again", step.name);
  HUSSAR_CHECK(product.m < (int64_t{1} << 31) && product.y_pitch < kMostPitch, ErrorCode::kUsage,
               "step '{}': the product is too large", step.name);
  const Tile tile{{}, list[0], list[1], 0, list[2], list[3], list[4], list[5], 1, list[6], list[7] > 0};
  HUSSAR_TRY(launch.epilogue.prepare(prepare));
  launch.sizes = sizes_of(product);
  const int64_t clusters = clusters_of(tile, product);
  const int64_t slots = slots_of(tile, queue_of(prepare.device).facts().multiprocessors);
  launch.launch = Launch{};
  launch.launch.grid[0] =
      static_cast<unsigned>((tile.split > 1 ? clusters : std::min(clusters, slots)) * tile.blocks());
  launch.launch.threads = 384;
  const int64_t stage_bytes = (tile.rows + tile.columns / (operands.sparse ? 2 : 1)) * operands.row_bytes();
  launch.near_input = static_cast<int32_t>(list[7]);
  int64_t near_tiles = 0;
  if (tile.near) {
    const DType dtype = prepare.inputs[static_cast<size_t>(list[7])].dtype;
    const auto bytes = static_cast<int64_t>(dtype_size(dtype));
    near_tiles = 2 * (tile.rows * tile.columns * bytes + 16);
    const auto pitch = static_cast<uint64_t>(launch.epilogue.pitch_of(launch.near_input) * bytes);
    const auto columns = static_cast<uint64_t>(product.n), rows = static_cast<uint64_t>(product.m);
    launch.near = {dtype,
                   3,
                   {columns, rows, 1},
                   {pitch, pitch * rows},
                   {static_cast<uint32_t>(128 / bytes), static_cast<uint32_t>(tile.rows), 1}};
  }
  launch.launch.shared_bytes = static_cast<unsigned>(1024 + tile.stages * (stage_bytes + 16) + near_tiles);
  launch.launch.function =
      HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "hussar_product", launch.launch.shared_bytes));
  const DType dtype = operands.dtype;
  launch.row_bytes = static_cast<int>(operands.row_bytes());
  launch.block_k = static_cast<uint32_t>(operands.block_k());
  const int64_t w_rows = weight_rows(tile, product, operands);
  launch.w = hopper_weights(dtype, product.n, product.k, w_rows, operands.block_k());
  launch.places = 0;
  launch.second_input = 0;
  if (operands.second_depth > 0) {
    launch.second_w = hopper_weights(dtype, product.n, operands.second_depth, w_rows, operands.block_k());
    launch.second_input = static_cast<int32_t>(inputs_of_part(step.op)) + 1;
  }
  if (operands.sparse) {
    const SparseOrder order = hopper_order(prepare.step.attributes.get_int(kSparseGroup, 0), dtype);
    const SparseSizes sizes = sparse_sizes(product.n, product.k, order, dtype);
    const auto rows = static_cast<uint64_t>(sizes.rows), elements = static_cast<uint64_t>(sizes.row_elements);
    const uint64_t row_bytes = elements * dtype_size(dtype);
    const auto share = static_cast<uint32_t>(tile.columns / tile.cluster_m);
    launch.w = {dtype, 3, {elements, rows, 1}, {row_bytes, row_bytes * rows}, {launch.block_k / 2, share, 1}, 64};
    launch.places = sizes.value_bytes();
  }
  launch.x_rows = static_cast<int32_t>(tile.rows / tile.cluster_n);
  return {};
}

Status launch_hopper(const Run& run, const HopperLaunch& launch, TensorMap& x, WindowSteps* windows,
                     TensorMap* second_x) {
  Queue& queue = queue_of(run.device);
  TensorMap w = HUSSAR_TRY(queue.encode(launch.w, run.inputs[1].data));
  Words fused;
  launch.epilogue.put(run, fused);
  std::byte* y = run.outputs[0].data;
  const std::byte* places = run.inputs[1].data + launch.places;
  ProductSizes sizes = launch.sizes;
  TensorMap near, second_w;
  const int32_t* rows = run.row_count.of(launch.sizes.m);
  void* arguments[11] = {&x, &w, &y, &sizes, fused.data()};
  size_t count = 5;
  if (launch.near_input > 0) {
    near = HUSSAR_TRY(queue.encode(launch.near, run.inputs[static_cast<size_t>(launch.near_input)].data));
    arguments[count++] = &near;
  }
  if (launch.places > 0) arguments[count++] = &places;
  if (second_x != nullptr) {
    second_w = HUSSAR_TRY(queue.encode(launch.second_w, run.inputs[static_cast<size_t>(launch.second_input)].data));
    arguments[count++] = second_x;
    arguments[count++] = &second_w;
  }
  if (windows != nullptr) arguments[count++] = windows;
  arguments[count++] = &rows;
  return queue.launch(launch.launch, {arguments, count});
}

TileMap hopper_weights(DType dtype, int64_t n, int64_t k, int64_t rows, int64_t block_k) {
  const auto size = static_cast<int64_t>(dtype_size(dtype));
  const auto pitch = static_cast<uint64_t>(k * size), count = static_cast<uint64_t>(n);
  const auto depth = static_cast<uint64_t>(k);
  const auto box = static_cast<uint32_t>(block_k);
  const int row_bytes = static_cast<int>(block_k * size);
  if (rows == 32)
    return {dtype,    5, {depth, 2, count / 8, 4, 1}, {pitch, 8 * pitch, 2 * pitch, pitch * count}, {box, 2, 4, 4, 1},
            row_bytes};
  const auto groups = static_cast<uint32_t>(rows / 32);
  return {dtype,    5, {depth, 2, 4, 4, count / 32}, {pitch, 8 * pitch, 2 * pitch, 32 * pitch}, {box, 2, 4, 4, groups},
          row_bytes};
}

TileMap hopper_rows(const DenseProduct& product, DType dtype, const HopperLaunch& launch) {
  const auto m = static_cast<uint64_t>(product.m), k = static_cast<uint64_t>(product.k);
  const auto pitch = static_cast<uint64_t>(product.x_pitch) * dtype_size(dtype);
  return {dtype,           3, {k, m, 1}, {pitch, pitch * m}, {launch.block_k, static_cast<uint32_t>(launch.x_rows), 1},
          launch.row_bytes};
}

Status prepare_hopper_product(Prepare& prepare, const DenseProduct& product, bool sparse) {
  HopperProduct& state = prepare.state_as<HopperProduct>();
  const DType dtype = prepare.inputs[0].dtype;
  HUSSAR_TRY(prepare_hopper(prepare, product, {dtype, product.k, sparse}, state.launch));
  state.x = hopper_rows(product, dtype, state.launch);
  return {};
}

Status run_hopper_product(const Run& run) {
  const HopperProduct& state = run.state_as<HopperProduct>();
  if (state.launch.sizes.m == 0) return {};
  TensorMap x = HUSSAR_TRY(queue_of(run.device).encode(state.x, run.inputs[0].data));
  return launch_hopper(run, state.launch, x, nullptr);
}

}  // namespace hussar::cuda
