// conv_amx_bf16: convolution of 1 or 2 spatial dimensions in BF16 on the matrix unit, on FP32 activations, where that
// is allowed.
#include "backends/cpu/bfloat_steps.h"
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/matrix_steps.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr int kParts = 1;

Refusal supports(const Problem& problem) { return check_matrix_conv(problem, kParts); }
double cost(const Problem& problem) { return matrix_conv_cost(problem, kParts); }
std::vector<Configuration> configurations(const Problem& problem) {
  return matrix_configurations(problem, cost(problem));
}
Status pack(Packing& packing) { return pack_matrix_conv(packing, kParts); }
Status unpack(Packing& packing) { return unpack_filter(packing, pack, decode_bfloat_weights, kBfloatProbeBits); }
Status prepare(Prepare& prepare) { return prepare_matrix_conv(prepare, kParts); }

}  // namespace

extern const Kernel conv_amx_bf16_kernel = {.name = "conv_amx_bf16",
                                            .state_bytes = sizeof(MatrixState),
                                            .multiplies_in = DType::kBFloat16,
                                            .checks_shapes = true,
                                            .prepare = prepare,
                                            .run = run_matrix_step};
extern const Tactic conv_amx_bf16_tactic = {.kernel = "conv_amx_bf16",
                                            .supports = supports,
                                            .cost = cost,
                                            .configurations = configurations,
                                            .pack = pack,
                                            .unpack = unpack};

}  // namespace hussar
