// cuda_attention_simple: attention of any type and form, a warp for each query.
#include "backends/cuda/attention_work.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr int64_t kRows = 4;  // queries of a block

Refusal supports(const Problem& problem) { return check_attention(problem); }

double cost(const Problem& problem) { return memory_cost(problem) + attention_flops(problem) / 1e6; }

Status pack(Packing& packing) {
  return attach_code(
      packing, assemble(attention_defines(packing.node), {"numbers.cuh", "attention.cuh", "attention_simple.cuh"}));
}

struct State {
  Launch launch;
  AttentionWork work;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  state.work = HUSSAR_TRY(attention_work(prepare.step.attributes, prepare.inputs, prepare.outputs[0]));
  const AttentionWork& work = state.work;
  HUSSAR_CHECK(work.batch <= 65535 && work.heads <= 65535 && std::max(work.queries, work.keys) < (int64_t{1} << 30),
               ErrorCode::kUsage, "step '{}': the batch is too large", prepare.step.name);
  state.launch = Launch{};
  state.launch.threads = 128;
  state.launch.shared_bytes = 0;
  state.launch.function =
      HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "attention", state.launch.shared_bytes));
  state.launch.grid[0] = static_cast<unsigned>((work.queries + kRows - 1) / kRows);
  state.launch.grid[1] = static_cast<unsigned>(work.heads);
  state.launch.grid[2] = static_cast<unsigned>(work.batch);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  put_attention(run, state.work, words);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_attention_simple_kernel = {.name = "cuda_attention_simple",
                                                    .place = Place::kDevice,
                                                    .state_bytes = sizeof(State),
                                                    .prepare = prepare,
                                                    .run = run};
extern const Tactic cuda_attention_simple_tactic = {.kernel = "cuda_attention_simple",
                                                    .place = Place::kDevice,
                                                    .supports = supports,
                                                    .cost = cost,
                                                    .pack = pack,
                                                    .unpack = forget_code};

}  // namespace hussar
