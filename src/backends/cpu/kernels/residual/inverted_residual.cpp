// inverted_residual: an expansion, a depthwise convolution and a projection (each but the second optional) in one
// step, FP32, channels-last.
#include "backends/cpu/inverted_residual.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr DType kType = DType::kFloat32;

Refusal supports(const Problem& problem) { return check_inverted_residual(problem); }
double cost(const Problem& problem) { return inverted_residual_cost(problem, kType); }
std::vector<Configuration> configurations(const Problem& problem) {
  return inverted_residual_configurations(problem, cost(problem));
}
Status pack(Packing& packing) { return pack_inverted_residual(packing, kType); }
Status unpack(Packing& packing) { return unpack_inverted_residual(packing, kType); }
Status prepare(Prepare& prepare) { return prepare_inverted_residual(prepare, kType); }

}  // namespace

extern const Kernel inverted_residual_kernel = {.name = "inverted_residual",
                                                .state_bytes = sizeof(InvertedResidualState),
                                                .checks_shapes = true,
                                                .prepare = prepare,
                                                .run = run_inverted_residual};
extern const Tactic inverted_residual_tactic = {.kernel = "inverted_residual",
                                                .supports = supports,
                                                .cost = cost,
                                                .configurations = configurations,
                                                .pack = pack,
                                                .unpack = unpack};

}  // namespace hussar
