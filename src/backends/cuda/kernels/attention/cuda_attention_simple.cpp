// cuda_attention_simple: attention of any type and form, a warp for each query.
#include "backends/cuda/attention_work.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) { return check_attention(problem); }

double cost(const Problem& problem) { return memory_cost(problem) + attention_flops(problem) / 1e6; }

Status pack(Packing& packing) {
  return attach_code(
      packing, assemble(attention_defines(packing.node), {"numbers.cuh", "attention.cuh", "attention_simple.cuh"}));
}

Status prepare(Prepare& prepare) {
  const AttentionWork work = HUSSAR_TRY(attention_work(prepare.step.attributes, prepare.inputs, prepare.outputs[0]));
  return prepare_attention(prepare, work, 4, 128, 0, prepare.state_as<AttentionLaunch>());
}

Status run(const Run& run) { return launch_attention(run, run.state_as<AttentionLaunch>()); }

}  // namespace

extern const Kernel cuda_attention_simple_kernel = {.name = "cuda_attention_simple",
                                                    .place = Place::kDevice,
                                                    .state_bytes = sizeof(AttentionLaunch),
                                                    .prepare = prepare,
                                                    .run = run};
extern const Tactic cuda_attention_simple_tactic = {.kernel = "cuda_attention_simple",
                                                    .place = Place::kDevice,
                                                    .supports = supports,
                                                    .cost = cost,
                                                    .pack = pack,
                                                    .unpack = forget_code};

}  // namespace hussar
