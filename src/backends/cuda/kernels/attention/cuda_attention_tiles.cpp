// cuda_attention_tiles: attention of floats with multiply-adds, where tensor cores would round them.
#include "backends/cuda/attention_work.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr int64_t kQueries = 64, kThreads = 256;
constexpr int64_t kMostColumns = 128;
constexpr std::string_view kKeys = "hussar_keys";

// As many as leave room for two blocks on a multiprocessor.
int64_t keys_of(const AttentionWork& work) { return std::max(work.head, work.v_head) <= 64 ? 64 : 32; }

int64_t shared_bytes(const AttentionWork& work, int64_t keys) {
  const int64_t columns = (work.v_head + 15) / 16 * 16;
  return 4 * (work.head * (kQueries + 4 + keys + 4) + keys * (columns + kQueries + 4));
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_attention(problem)) return refusal;
  auto work = attention_work(problem.node);
  if (!work) return "shapes";
  return std::max(work->head, work->v_head) <= kMostColumns ? Refusal() : Refusal("head size");
}

// Blocks compute all of their queries, whether they are there or not.
double cost(const Problem& problem) {
  auto work = attention_work(problem.node);
  if (!work || work->queries == 0) return 1e9;
  const double wasted =
      static_cast<double>((work->queries + kQueries - 1) / kQueries * kQueries) / static_cast<double>(work->queries);
  return memory_cost(problem) + wasted * attention_flops(problem) / 2e7;
}

Status pack(Packing& packing) {
  const AttentionWork work = HUSSAR_TRY(attention_work(packing.node));
  const int64_t keys = keys_of(work);
  packing.node.attributes.set(kKeys, keys);
  Defines defines = attention_defines(packing.node);
  defines.set("KEYS", keys);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "attention.cuh", "attention_tiles.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kKeys);
  return {};
}

Status prepare(Prepare& prepare) {
  const AttentionWork work = HUSSAR_TRY(attention_work(prepare.step.attributes, prepare.inputs, prepare.outputs[0]));
  const int64_t keys = prepare.step.attributes.get_int(kKeys, 0);
  HUSSAR_CHECK(keys == keys_of(work) && std::max(work.head, work.v_head) <= kMostColumns, ErrorCode::kPlanIncompatible,
               "step '{}': its code is for other shapes; build the plan again", prepare.step.name);
  return prepare_attention(prepare, work, kQueries, kThreads, shared_bytes(work, keys),
                           prepare.state_as<AttentionLaunch>());
}

Status run(const Run& run) { return launch_attention(run, run.state_as<AttentionLaunch>()); }

}  // namespace

extern const Kernel cuda_attention_tiles_kernel = {.name = "cuda_attention_tiles",
                                                   .place = Place::kDevice,
                                                   .state_bytes = sizeof(AttentionLaunch),
                                                   .prepare = prepare,
                                                   .run = run};
extern const Tactic cuda_attention_tiles_tactic = {.kernel = "cuda_attention_tiles",
                                                   .place = Place::kDevice,
                                                   .supports = supports,
                                                   .cost = cost,
                                                   .pack = pack,
                                                   .unpack = unpack};

}  // namespace hussar
