// cuda_attention_tensor: attention with tensor cores, on halves, BF16 or in TF32, heads of 32, 64 or 128 columns.
#include "backends/cuda/attention_work.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kTile = "hussar_tile";

int64_t blocks_of(const AttentionWork& work, int64_t warps) {
  return (work.queries + 16 * warps - 1) / (16 * warps) * work.heads * work.batch;
}

// WARPS, SPLIT and STEPS of device/attention_tensor.cuh.
struct Tile {
  std::string_view name;  // as a configuration
  int64_t warps, split, steps;
  int64_t shared_bytes(int64_t head, DType dtype) const {
    return (4 * 32 * split * steps + 16 * warps) * head * static_cast<int64_t>(dtype_size(dtype));
  }
};

constexpr Tile kTiles[] = {
    {"64_queries", 4, 1, 2}, {"32_queries", 2, 2, 1}, {"16_queries", 1, 4, 1}, {"64_queries_by_32", 4, 1, 1}};

// What a block may have of a multiprocessor's shared memory (CUDA C++ Programming Guide, "Compute Capabilities").
int64_t most_shared_bytes(int sm) { return (sm >= 90 ? 227 : sm == 80 ? 163 : 99) * int64_t{1024}; }

bool fits(const Tile& tile, const AttentionWork& work, DType dtype, int sm) {
  return tile.shared_bytes(work.head, dtype) <= most_shared_bytes(sm);
}

// Many queries share keys and values where that leaves a block for every multiprocessor; else many warps share queries.
Tile best_tile(const AttentionWork& work, DType dtype, int sm) {
  constexpr int64_t kMultiprocessors = 132;
  constexpr size_t kMany[] = {0, 3}, kFew[] = {2, 1, 3};
  const bool are_many = blocks_of(work, 4) >= kMultiprocessors;
  for (size_t i : are_many ? std::span<const size_t>(kMany) : std::span<const size_t>(kFew)) {
    if (fits(kTiles[i], work, dtype, sm)) return kTiles[i];
  }
  return kTiles[3];
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_attention(problem)) return refusal;
  if (problem.target.sm < kTensorCores) return "needs tensor cores (sm_80)";
  const DType dtype = problem.dtype(0);
  if (dtype == DType::kFloat32 && !problem.target.no_tf32.empty()) return std::string(problem.target.no_tf32);
  auto work = attention_work(problem.node);
  if (!work) return "shapes";
  const bool is_known = work->head == 32 || work->head == 64 || work->head == 128;
  if (!is_known || work->v_head != work->head) return "head size";
  if (work->k.column != 1) return "transposed keys";
  // Rows are copied in chunks of 16 bytes.
  const int64_t chunk = 16 / static_cast<int64_t>(dtype_size(dtype));
  for (const auto& side : {work->q, work->k, work->v, work->y}) {
    if (side.offset % chunk != 0 || side.row % chunk != 0 || side.head % chunk != 0) return "alignment";
  }
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, kAttentionBytes) + attention_flops(problem) / 2e8; }

std::vector<Configuration> configurations(const Problem& problem) {
  std::vector<Configuration> list;
  auto work = attention_work(problem.node);
  if (!work) return list;
  const DType dtype = problem.dtype(0);
  const std::string_view best = best_tile(*work, dtype, problem.target.sm).name;
  for (const Tile& tile : kTiles) {
    if (tile.name != best && fits(tile, *work, dtype, problem.target.sm)) list.push_back({tile.name, cost(problem)});
  }
  return list;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const AttentionWork work = HUSSAR_TRY(attention_work(node));
  const DType dtype = node.inputs[0]->dtype;
  const Tile* wanted = configured_tile<Tile>(kTiles, node);
  const Tile tile = wanted != nullptr ? *wanted : best_tile(work, dtype, packing.target.sm);
  const bool pairs = has_mask_pairs(work), has_rows = work.mask[2] != 0;
  node.attributes.set(kTile, Ints{tile.warps, tile.split, tile.steps, pairs, has_rows});
  Defines defines = attention_defines(node);
  defines.set("WARPS", tile.warps).set("SPLIT", tile.split).set("STEPS", tile.steps).set("MASK_PAIRS", pairs);
  defines.set("MASK_ROWS", has_rows).set("TF32", dtype == DType::kFloat32).set("BF16", dtype == DType::kBFloat16);
  if (dtype == DType::kFloat32) node.attributes.set(kTf32Attribute, int64_t{1});
  return attach_code(packing,
                     assemble(defines, {"numbers.cuh", "attention.cuh", "shared_copies.cuh", "attention_pieces.cuh",
                                        "attention_tensor_pieces.cuh", "attention_tensor.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kTile);
  packing.node.attributes.erase(kTf32Attribute);
  return {};
}

Status prepare(Prepare& prepare) {
  const AttentionWork work = HUSSAR_TRY(attention_work(prepare.step.attributes, prepare.inputs, prepare.outputs[0]));
  const Ints list = prepare.step.attributes.get_ints(kTile);
  const bool is_tile = list.size() == 5 && *std::min_element(list.begin(), list.begin() + 3) > 0;
  const Tile tile = is_tile ? Tile{{}, list[0], list[1], list[2]} : Tile{};
  HUSSAR_CHECK(is_tile && tile.warps * tile.split <= 4 && tile.steps <= 2 && (list[3] == 0 || has_mask_pairs(work)) &&
                   (list[4] == 1 || work.mask[2] == 0),
               ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               prepare.step.name);
  return prepare_attention(prepare, work, 16 * tile.warps, 32 * tile.warps * tile.split,
                           tile.shared_bytes(work.head, prepare.inputs[0].dtype), prepare.state_as<AttentionLaunch>());
}

Status run(const Run& run) { return launch_attention(run, run.state_as<AttentionLaunch>()); }

}  // namespace

extern const Kernel cuda_attention_tensor_kernel = {.name = "cuda_attention_tensor",
                                                    .place = Place::kDevice,
                                                    .state_bytes = sizeof(AttentionLaunch),
                                                    .prepare = prepare,
                                                    .run = run};
extern const Tactic cuda_attention_tensor_tactic = {.kernel = "cuda_attention_tensor",
                                                    .place = Place::kDevice,
                                                    .supports = supports,
                                                    .cost = cost,
                                                    .configurations = configurations,
                                                    .pack = pack,
                                                    .unpack = unpack};

}  // namespace hussar
