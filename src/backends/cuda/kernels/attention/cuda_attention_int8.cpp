// cuda_attention_int8: attention of bytes with tensor cores, heads of 32, 64 or 128 columns.
#include "backends/cuda/attention_work.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kTile = "hussar_tile";

// WARPS, GROUPS and STEPS of device/attention_int8.cuh.
struct Tile {
  std::string_view name;  // as a configuration
  int64_t warps, groups, steps;
  int64_t queries() const { return 16 * groups * warps; }
  int64_t keys() const { return 32 * steps; }
  // Sums of wider heads would not fit into registers.
  bool fits(int64_t head) const { return groups == 1 || head <= 64; }
  int64_t shared_bytes(int64_t head) const { return (6 * keys() + queries()) * head + 3 * 4 * keys(); }
};

constexpr Tile kTiles[] = {{"64_queries", 4, 1, 2},          {"128_queries", 4, 2, 2},
                           {"128_queries_8_warps", 8, 1, 2}, {"64_queries_128_keys", 4, 1, 4},
                           {"64_queries_2_warps", 2, 2, 2},  {"32_queries", 2, 1, 2}};

// Many queries share keys and values where that leaves blocks for every multiprocessor; else there are more blocks.
const Tile& best_tile(const AttentionWork& work) {
  constexpr int64_t kMultiprocessors = 132;
  const int64_t heads = work.heads * work.batch;
  auto blocks = [&](const Tile& tile) { return (work.queries + tile.queries() - 1) / tile.queries() * heads; };
  if (work.queries > 64 && kTiles[1].fits(work.head) && blocks(kTiles[1]) >= 2 * kMultiprocessors) return kTiles[1];
  return work.queries > 32 && blocks(kTiles[0]) >= kMultiprocessors ? kTiles[0] : kTiles[5];
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_byte_attention(problem)) return refusal;
  if (problem.target.sm < kTensorCores) return "needs tensor cores (sm_80)";
  auto work = attention_work(problem.node);
  if (!work) return "shapes";
  const bool is_known = work->head == 32 || work->head == 64 || work->head == 128;
  if (!is_known || work->v_head != work->head) return "head size";
  // Rows are copied in chunks of 16 bytes.
  for (const auto& side : {work->q, work->k, work->v}) {
    if (side.offset % 16 != 0 || side.row % 16 != 0) return "alignment";
  }
  return std::nullopt;
}

// Exponentials and what is done to scores take as long as in halves; products of scores take half of it.
double cost(const Problem& problem) { return memory_cost(problem, kAttentionBytes) + attention_flops(problem) / 2.5e8; }

std::vector<Configuration> configurations(const Problem& problem) {
  std::vector<Configuration> list;
  auto work = attention_work(problem.node);
  if (!work) return list;
  const std::string_view best = best_tile(*work).name;
  for (const Tile& tile : kTiles) {
    if (tile.name != best && tile.fits(work->head)) list.push_back({tile.name, cost(problem)});
  }
  return list;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const AttentionWork work = HUSSAR_TRY(attention_work(node));
  const Tile* wanted = configured_tile<Tile>(kTiles, node);
  const Tile& tile = wanted != nullptr && wanted->fits(work.head) ? *wanted : best_tile(work);
  const bool pairs = has_mask_pairs(work), has_rows = work.mask[2] != 0;
  node.attributes.set(kTile, Ints{tile.warps, tile.groups, tile.steps, pairs, has_rows});
  Defines defines = attention_defines(node);
  defines.set("WARPS", tile.warps).set("GROUPS", tile.groups).set("STEPS", tile.steps).set("SPLIT", 1);
  defines.set("MASK_PAIRS", pairs).set("MASK_ROWS", has_rows);
  return attach_code(packing,
                     assemble(defines, {"numbers.cuh", "attention.cuh", "shared_copies.cuh", "attention_pieces.cuh",
                                        "attention_int8_pieces.cuh", "attention_int8.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kTile);
  return {};
}

Status prepare(Prepare& prepare) {
  const AttentionWork work = HUSSAR_TRY(attention_work(prepare.step.attributes, prepare.inputs, prepare.outputs[0]));
  const Ints list = prepare.step.attributes.get_ints(kTile);
  const auto* tile = std::find_if(std::begin(kTiles), std::end(kTiles), [&](const Tile& known) {
    return list.size() == 5 && Ints{known.warps, known.groups, known.steps} == Ints(list.begin(), list.begin() + 3);
  });
  HUSSAR_CHECK(tile != std::end(kTiles) && tile->fits(work.head) && (list[3] == 0 || has_mask_pairs(work)) &&
                   (list[4] == 1 || work.mask[2] == 0),
               ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               prepare.step.name);
  return prepare_attention(prepare, work, tile->queries(), 32 * tile->warps, tile->shared_bytes(work.head),
                           prepare.state_as<AttentionLaunch>());
}

Status run(const Run& run) { return launch_attention(run, run.state_as<AttentionLaunch>()); }

}  // namespace

extern const Kernel cuda_attention_int8_kernel = {.name = "cuda_attention_int8",
                                                  .place = Place::kDevice,
                                                  .state_bytes = sizeof(AttentionLaunch),
                                                  .prepare = prepare,
                                                  .run = run};
extern const Tactic cuda_attention_int8_tactic = {.kernel = "cuda_attention_int8",
                                                  .place = Place::kDevice,
                                                  .supports = supports,
                                                  .cost = cost,
                                                  .configurations = configurations,
                                                  .pack = pack,
                                                  .unpack = unpack};

}  // namespace hussar
