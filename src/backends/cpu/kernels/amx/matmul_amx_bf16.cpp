// matmul_amx_bf16: MatMul with a constant right side in BF16 on the matrix unit, on FP32 activations, where that is
// allowed.
#include "backends/cpu/bfloat_steps.h"
#include "backends/cpu/matrix_shape.h"
#include "backends/cpu/matrix_steps.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr int kParts = 1;

Refusal supports(const Problem& problem) { return check_matrix_matmul(problem, kParts); }
double cost(const Problem& problem) { return matrix_matmul_cost(problem, kParts); }
std::vector<Configuration> configurations(const Problem& problem) {
  return matrix_configurations(problem, cost(problem));
}
Status pack(Packing& packing) { return pack_matrix_matmul(packing, kParts); }
Status unpack(Packing& packing) { return unpack_matrix(packing, pack, decode_bfloat_weights, kBfloatProbeBits); }
Status prepare(Prepare& prepare) { return prepare_matrix_matmul(prepare, kParts); }

}  // namespace

extern const Kernel matmul_amx_bf16_kernel = {.name = "matmul_amx_bf16",
                                              .state_bytes = sizeof(MatrixState),
                                              .multiplies_in = DType::kBFloat16,
                                              .checks_shapes = true,
                                              .prepare = prepare,
                                              .run = run_matrix_step};
extern const Tactic matmul_amx_bf16_tactic = {.kernel = "matmul_amx_bf16",
                                              .supports = supports,
                                              .cost = cost,
                                              .configurations = configurations,
                                              .pack = pack,
                                              .unpack = unpack};

}  // namespace hussar
