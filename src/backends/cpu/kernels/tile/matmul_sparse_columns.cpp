// matmul_sparse_columns: FP32 MatMul of few rows with a constant right side that is 2:4, whatever the masks.
#include <algorithm>

#include "backends/cpu/column_steps.h"
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/kernels/tile/sparse_columns.h"
#include "backends/cpu/matrix_shape.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  ConvArgs conv;
  EpilogueState epilogue;
  int shares;
};

Refusal supports(const Problem& problem) {
  if (!is_matrix_product(problem.node)) return "op";
  if (auto refusal = check_constant_matrix(problem)) return refusal;
  if (auto refusal = check_epilogue(problem)) return refusal;
  return check_sparse_columns(problem);
}

// A kept weight takes the instructions of two dense ones, but the bytes of one.
double cost(const Problem& problem) {
  const MatrixFacts b = matrix_facts(problem.node);
  const double flops = 2 * Problem::elements(problem.output()) * static_cast<double>(b.k);
  const double bytes = 4 * (static_cast<double>(float_column_floats(b.k, b.n)) + Problem::elements(problem.input(0)));
  return std::max(flops / 8e4, bytes / 1e4) / problem.target.threads + 1;
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<State>();
  state = State{};
  HUSSAR_TRY(fill_matrix_geometry(prepare, DType::kFloat32, state.conv));
  HUSSAR_TRY(prepare_epilogue(prepare, -1, state.epilogue, true));
  const int64_t k = state.conv.channels, n = state.conv.filters, elements = prepare.inputs[1].shape.elements();
  // By division: attributes may say anything.
  const bool fits = k % 4 == 0 && k / 2 <= elements && column_panels(n) <= elements / (k / 2) &&
                    elements == float_column_floats(k, n);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': malformed sparse weights", prepare.step.name);
  const double flops = 2 * static_cast<double>(state.conv.out[2] * n) * static_cast<double>(k);
  state.shares = share_count(flops, prepare.threads);
  return {};
}

Status run(const Run& run) {
  const auto& state = run.state_as<State>();
  ProgramOperand operands[kProgramOperands];
  const ConvArgs args = bind_conv_args(run, state.conv, state.epilogue, operands);
  const SparseColumnsTable& table = select_sparse_columns_table(usable_isa(run.isa));
  run.pool.run(state.shares, [&](int share) { table.product(args, {share, state.shares}); });
  return {};
}

}  // namespace

extern const Kernel matmul_sparse_columns_kernel = {.name = "matmul_sparse_columns",
                                                    .state_bytes = sizeof(State),
                                                    .checks_shapes = true,
                                                    .prepare = prepare,
                                                    .run = run};
extern const Tactic matmul_sparse_columns_tactic = {.kernel = "matmul_sparse_columns",
                                                    .supports = supports,
                                                    .cost = cost,
                                                    .pack = pack_sparse_columns,
                                                    .unpack = unpack_sparse_columns};

}  // namespace hussar
