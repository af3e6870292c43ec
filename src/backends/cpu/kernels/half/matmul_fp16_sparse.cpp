// matmul_fp16_sparse: matmul_fp16 for weights that are 2:4 with masks that blocks of columns share.
#include "backends/cpu/half_steps.h"
#include "backends/cpu/matrix_shape.h"
#include "backends/cpu/sparse_steps.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (!is_matrix_product(problem.node)) return "op";
  if (auto refusal = check_constant_matrix(problem)) return refusal;
  if (auto refusal = check_epilogue(problem)) return refusal;
  return check_half_sparse(problem);
}

double cost(const Problem& problem) { return half_matmul_cost(problem) * sparse_share(problem, kHalfGather); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<HalfState>();
  state = HalfState{};
  HUSSAR_TRY(fill_matrix_geometry(prepare, DType::kFloat16, state.args.conv));
  return prepare_half_sparse(prepare, -1, state);
}

}  // namespace

extern const Kernel matmul_fp16_sparse_kernel = {.name = "matmul_fp16_sparse",
                                                 .state_bytes = sizeof(HalfState),
                                                 .multiplies_in = DType::kFloat16,
                                                 .checks_shapes = true,
                                                 .prepare = prepare,
                                                 .run = run_half_step};
extern const Tactic matmul_fp16_sparse_tactic = {.kernel = "matmul_fp16_sparse",
                                                 .supports = supports,
                                                 .cost = cost,
                                                 .pack = pack_half_sparse,
                                                 .unpack = unpack_sparse};

}  // namespace hussar
