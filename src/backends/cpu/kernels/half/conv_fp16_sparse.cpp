// conv_fp16_sparse: conv_fp16 for weights that are 2:4 with masks that blocks of output channels share.
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/half_steps.h"
#include "backends/cpu/sparse_steps.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (problem.node.op != "Conv") return "op";
  if (auto refusal = check_conv(problem)) return refusal;
  if (auto refusal = check_epilogue(problem)) return refusal;
  return check_half_sparse(problem);
}

double cost(const Problem& problem) { return half_conv_cost(problem) * sparse_share(problem, kHalfGather); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<HalfState>();
  state = HalfState{};
  HUSSAR_TRY(fill_conv_geometry(prepare, state.args.conv, DType::kFloat16));
  return prepare_half_sparse(prepare, bias_input(prepare), state);
}

}  // namespace

extern const Kernel conv_fp16_sparse_kernel = {.name = "conv_fp16_sparse",
                                               .state_bytes = sizeof(HalfState),
                                               .multiplies_in = DType::kFloat16,
                                               .checks_shapes = true,
                                               .prepare = prepare,
                                               .run = run_half_step};
extern const Tactic conv_fp16_sparse_tactic = {.kernel = "conv_fp16_sparse",
                                               .supports = supports,
                                               .cost = cost,
                                               .pack = pack_half_sparse,
                                               .unpack = unpack_sparse};

}  // namespace hussar
