// cuda_attention_half: attention on halves with tensor cores, heads of 32, 64 or 128 columns.
#include "backends/cuda/attention_work.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kTile = "hussar_tile";

int64_t blocks_of(const AttentionWork& work, int64_t warps) {
  return (work.queries + 16 * warps - 1) / (16 * warps) * work.heads * work.batch;
}

// WARPS, SPLIT and STEPS of device/attention_half.cuh.
struct Tile {
  std::string_view name;  // as a configuration
  int64_t warps, split, steps;
  int64_t shared_bytes(int64_t head) const { return (4 * 32 * split * steps + 16 * warps) * head * 2; }
};

constexpr Tile kTiles[] = {{"64_queries", 4, 1, 2}, {"32_queries", 2, 2, 1}, {"16_queries", 1, 4, 1}};

// Many queries share keys and values where that leaves a block for every multiprocessor; else many warps share queries.
Tile best_tile(const AttentionWork& work) {
  constexpr int64_t kMultiprocessors = 132;
  return blocks_of(work, 4) >= kMultiprocessors ? kTiles[0] : kTiles[2];
}

// Whether two neighbours of the mask lie side by side, and at even places.
bool has_mask_pairs(const AttentionWork& work) {
  const bool are_even = std::all_of(work.mask, work.mask + 3, [](int64_t stride) { return stride % 2 == 0; });
  return are_even && work.mask[3] == 1 && work.keys % 2 == 0;
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_attention(problem)) return refusal;
  if (problem.target.sm < kTensorCores) return "needs tensor cores (sm_80)";
  if (problem.dtype(0) != DType::kFloat16) return "dtype";
  auto work = attention_work(problem.node);
  if (!work) return "shapes";
  const bool is_known = work->head == 32 || work->head == 64 || work->head == 128;
  if (!is_known || work->v_head != work->head) return "head size";
  if (work->k.column != 1) return "transposed keys";
  // Rows are copied in chunks of eight.
  for (const auto& side : {work->q, work->k, work->v, work->y}) {
    if (side.offset % 8 != 0 || side.row % 8 != 0 || side.head % 8 != 0) return "alignment";
  }
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem) + attention_flops(problem) / 2e8; }

std::vector<Configuration> configurations(const Problem& problem) {
  std::vector<Configuration> list;
  auto work = attention_work(problem.node);
  for (const Tile& tile : kTiles) {
    if (work && tile.name != best_tile(*work).name) list.push_back({tile.name, cost(problem)});
  }
  return list;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const AttentionWork work = HUSSAR_TRY(attention_work(node));
  const Tile* wanted = configured_tile<Tile>(kTiles, node);
  const Tile tile = wanted != nullptr ? *wanted : best_tile(work);
  const bool pairs = has_mask_pairs(work), has_rows = work.mask[2] != 0;
  node.attributes.set(kTile, Ints{tile.warps, tile.split, tile.steps, pairs, has_rows});
  Defines defines = attention_defines(node);
  defines.set("WARPS", tile.warps).set("SPLIT", tile.split).set("STEPS", tile.steps).set("MASK_PAIRS", pairs);
  defines.set("MASK_ROWS", has_rows);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "attention.cuh", "attention_half.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kTile);
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
  return prepare_attention(prepare, work, 16 * tile.warps, 32 * tile.warps * tile.split, tile.shared_bytes(work.head),
                           prepare.state_as<AttentionLaunch>());
}

Status run(const Run& run) { return launch_attention(run, run.state_as<AttentionLaunch>()); }

}  // namespace

extern const Kernel cuda_attention_half_kernel = {.name = "cuda_attention_half",
                                                  .place = Place::kDevice,
                                                  .state_bytes = sizeof(AttentionLaunch),
                                                  .prepare = prepare,
                                                  .run = run};
extern const Tactic cuda_attention_half_tactic = {.kernel = "cuda_attention_half",
                                                  .place = Place::kDevice,
                                                  .supports = supports,
                                                  .cost = cost,
                                                  .configurations = configurations,
                                                  .pack = pack,
                                                  .unpack = unpack};

}  // namespace hussar
