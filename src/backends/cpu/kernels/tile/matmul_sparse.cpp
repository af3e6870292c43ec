// matmul_sparse: FP32 MatMul with a constant right side that is 2:4 with masks that blocks of columns share.
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/kernels/tile/sparse_product.h"
#include "backends/cpu/matrix_shape.h"
#include "backends/cpu/sparse_steps.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (!is_matrix_product(problem.node)) return "op";
  if (auto refusal = check_constant_matrix(problem)) return refusal;
  if (auto refusal = check_epilogue(problem)) return refusal;
  return check_sparse(problem);
}

double cost(const Problem& problem) {
  const MatrixFacts b = matrix_facts(problem.node);
  const double flops = 2 * Problem::elements(problem.output()) * static_cast<double>(b.k);
  return tile_conv_cost(problem.target, flops, 1, b.n, b.k) * sparse_share(problem, kFloatGather);
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<SparseState>();
  state = SparseState{};
  HUSSAR_TRY(fill_matrix_geometry(prepare, DType::kFloat32, state.args.conv));
  return prepare_sparse_product(prepare, -1, state);
}

}  // namespace

extern const Kernel matmul_sparse_kernel = {.name = "matmul_sparse",
                                            .state_bytes = sizeof(SparseState),
                                            .checks_shapes = true,
                                            .prepare = prepare,
                                            .run = run_sparse_product};
extern const Tactic matmul_sparse_tactic = {
    .kernel = "matmul_sparse", .supports = supports, .cost = cost, .pack = pack_sparse, .unpack = unpack_sparse};

}  // namespace hussar
