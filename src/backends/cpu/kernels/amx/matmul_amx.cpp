// matmul_amx: FP32 MatMul with a constant right side on the matrix unit, from split bfloat16.
#include "backends/cpu/matrix_shape.h"
#include "backends/cpu/matrix_steps.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr int kParts = 2;

Refusal supports(const Problem& problem) { return check_matrix_matmul(problem, kParts); }
double cost(const Problem& problem) { return matrix_matmul_cost(problem, kParts); }
std::vector<Configuration> configurations(const Problem& problem) {
  return matrix_configurations(problem, cost(problem));
}
Status pack(Packing& packing) { return pack_matrix_matmul(packing, kParts); }
Status unpack(Packing& packing) { return unpack_matrix(packing, pack, decode_matrix_weights); }
Status prepare(Prepare& prepare) { return prepare_matrix_matmul(prepare, kParts); }

}  // namespace

extern const Kernel matmul_amx_kernel = {.name = "matmul_amx",
                                         .state_bytes = sizeof(MatrixState),
                                         .checks_shapes = true,
                                         .prepare = prepare,
                                         .run = run_matrix_step};
extern const Tactic matmul_amx_tactic = {.kernel = "matmul_amx",
                                         .supports = supports,
                                         .cost = cost,
                                         .configurations = configurations,
                                         .pack = pack,
                                         .unpack = unpack};

}  // namespace hussar
