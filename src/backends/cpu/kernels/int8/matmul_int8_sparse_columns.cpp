// matmul_int8_sparse_columns: matmul_int8 of few rows for weights that are 2:4, whatever the masks.
#include "backends/cpu/column_steps.h"
#include "backends/cpu/int8_packing.h"
#include "backends/cpu/int8_steps.h"
#include "backends/cpu/kernels/int8/int8_columns.h"
#include "backends/cpu/matrix_shape.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (auto refusal = check_int8_matrix(problem)) return refusal;
  return check_sparse_columns(problem);
}

// The time of the dense product, but for the bytes that are not read.
double cost(const Problem& problem) {
  const Shape& b = problem.input(1)->constant->shape();
  const auto saved = static_cast<double>(int8_weight_bytes(b[0], b[1]) - int8_column_bytes(b[0], b[1]));
  return int8_cost(problem, product_rows(problem), b[0], b[1], 1) - saved / 1e4 / problem.target.threads;
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<Int8State>();
  state = Int8State{};
  const ConvArgs& conv = state.args.conv;
  HUSSAR_TRY(fill_matrix_geometry(prepare, DType::kInt8, state.args.conv));
  const int64_t k = conv.channels, n = conv.filters, elements = prepare.inputs[1].shape.elements();
  HUSSAR_TRY(prepare_int8_epilogue(prepare, k, state));
  // By division: attributes may say anything.
  const bool fits =
      k % 4 == 0 && column_panels(n) <= elements / int8_column_panel(k) && elements == int8_column_bytes(k, n);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': malformed sparse weights", prepare.step.name);
  state.shares = share_count(static_cast<double>(conv.out[2] * n) * static_cast<double>(k), prepare.threads);
  state.scratch_per_share = int8_columns_scratch_bytes(k);
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares);
  return {};
}

Status run(const Run& run) {
  const Isa isa = usable_isa(run.isa);
  const bool has_vnni = isa >= Isa::kAvx512 && has_avx512_vnni();
  return run_int8_step(run, has_vnni ? avx512vnni::run_int8_columns : select_int8_columns_table(isa).product);
}

}  // namespace

extern const Kernel matmul_int8_sparse_columns_kernel = {.name = "matmul_int8_sparse_columns",
                                                         .state_bytes = sizeof(Int8State),
                                                         .multiplies_in = DType::kInt8,
                                                         .checks_shapes = true,
                                                         .prepare = prepare,
                                                         .run = run};
extern const Tactic matmul_int8_sparse_columns_tactic = {.kernel = "matmul_int8_sparse_columns",
                                                         .supports = supports,
                                                         .cost = cost,
                                                         .pack = pack_sparse_columns,
                                                         .unpack = unpack_sparse_columns};

}  // namespace hussar
