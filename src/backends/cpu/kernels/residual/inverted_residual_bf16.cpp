// inverted_residual_bf16: the same with an expansion and a projection that multiply in BF16, where that is allowed.
#include "backends/cpu/bfloat_steps.h"
#include "backends/cpu/inverted_residual.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr DType kType = DType::kBFloat16;

Refusal supports(const Problem& problem) {
  if (problem.node.op != "hussar.InvertedResidual") return "op";
  if (auto refusal = check_bfloat_target(problem)) return refusal;
  return check_inverted_residual(problem);
}
double cost(const Problem& problem) { return inverted_residual_cost(problem, kType); }
std::vector<Configuration> configurations(const Problem& problem) {
  return inverted_residual_configurations(problem, cost(problem));
}
Status pack(Packing& packing) { return pack_inverted_residual(packing, kType); }
Status unpack(Packing& packing) { return unpack_inverted_residual(packing, kType); }
Status prepare(Prepare& prepare) { return prepare_inverted_residual(prepare, kType); }

}  // namespace

extern const Kernel inverted_residual_bf16_kernel = {.name = "inverted_residual_bf16",
                                                     .state_bytes = sizeof(InvertedResidualState),
                                                     .multiplies_in = DType::kBFloat16,
                                                     .checks_shapes = true,
                                                     .prepare = prepare,
                                                     .run = run_inverted_residual};
extern const Tactic inverted_residual_bf16_tactic = {.kernel = "inverted_residual_bf16",
                                                     .supports = supports,
                                                     .cost = cost,
                                                     .configurations = configurations,
                                                     .pack = pack,
                                                     .unpack = unpack};

}  // namespace hussar
