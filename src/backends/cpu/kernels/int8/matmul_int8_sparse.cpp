// matmul_int8_sparse: matmul_int8 for weights that are 2:4 with masks that blocks of columns share.
#include "backends/cpu/int8_steps.h"
#include "backends/cpu/matrix_shape.h"
#include "backends/cpu/sparse_steps.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (auto refusal = check_int8_matrix(problem)) return refusal;
  return check_sparse(problem);
}

double cost(const Problem& problem) {
  const Shape& b = problem.input(1)->constant->shape();
  const double rows = Problem::elements(problem.output()) / static_cast<double>(b[1]);
  return int8_cost(problem, rows, b[0], b[1], 1) * sparse_share(problem, kInt8Gather);
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<Int8State>();
  state = Int8State{};
  HUSSAR_TRY(fill_matrix_geometry(prepare, DType::kInt8, state.args.conv));
  return prepare_int8_sparse(prepare, state);
}

}  // namespace

extern const Kernel matmul_int8_sparse_kernel = {.name = "matmul_int8_sparse",
                                                 .state_bytes = sizeof(Int8State),
                                                 .multiplies_in = DType::kInt8,
                                                 .checks_shapes = true,
                                                 .prepare = prepare,
                                                 .run = run_int8_sparse};
extern const Tactic matmul_int8_sparse_tactic = {
    .kernel = "matmul_int8_sparse", .supports = supports, .cost = cost, .pack = pack_sparse, .unpack = unpack_sparse};

}  // namespace hussar
