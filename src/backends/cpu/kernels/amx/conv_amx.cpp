// conv_amx: FP32 convolution of 1 or 2 spatial dimensions on the matrix unit, from split bfloat16.
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/matrix_steps.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr int kParts = 2;

Refusal supports(const Problem& problem) { return check_matrix_conv(problem, kParts); }
double cost(const Problem& problem) { return matrix_conv_cost(problem, kParts); }
std::vector<Configuration> configurations(const Problem& problem) {
  return matrix_configurations(problem, cost(problem));
}
Status pack(Packing& packing) { return pack_matrix_conv(packing, kParts); }
Status unpack(Packing& packing) { return unpack_filter(packing, pack, decode_matrix_weights); }
Status prepare(Prepare& prepare) { return prepare_matrix_conv(prepare, kParts); }

}  // namespace

extern const Kernel conv_amx_kernel = {.name = "conv_amx",
                                       .state_bytes = sizeof(MatrixState),
                                       .checks_shapes = true,
                                       .prepare = prepare,
                                       .run = run_matrix_step};
extern const Tactic conv_amx_tactic = {.kernel = "conv_amx",
                                       .supports = supports,
                                       .cost = cost,
                                       .configurations = configurations,
                                       .pack = pack,
                                       .unpack = unpack};

}  // namespace hussar
