// matmul_bf16: MatMul with a constant right side that multiplies in BF16, on FP32 activations, where that is allowed.
#include "backends/cpu/bfloat_packing.h"
#include "backends/cpu/bfloat_steps.h"
#include "backends/cpu/matrix_shape.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (!is_matrix_product(problem.node)) return "op";
  if (auto refusal = check_bfloat_target(problem)) return refusal;
  if (auto refusal = check_constant_matrix(problem)) return refusal;
  return check_epilogue(problem);
}

double rows_of(const Problem& problem, int64_t n) {
  return Problem::elements(problem.output()) / static_cast<double>(n);
}

double cost(const Problem& problem) {
  const MatrixFacts b = matrix_facts(problem.node);
  return bfloat_cost(problem, rows_of(problem, b.n), b.k, b.n, 1);
}

std::vector<Configuration> configurations(const Problem& problem) {
  const MatrixFacts b = matrix_facts(problem.node);
  return bfloat_configurations(problem, rows_of(problem, b.n), b.k, b.n, 1);
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const MatrixFacts b = matrix_facts(node);
  Tensor packed(DType::kBFloat16, {bfloat_weight_elements(b.k, b.n)});
  pack_bfloat_weights(b.data, b.k, b.n, b.row_stride, b.column_stride, packed.data<uint16_t>());
  remember_matrix_shape(node, b.k, b.n);
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_matrix(packing, pack, decode_bfloat_weights, kBfloatProbeBits); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<BfloatState>();
  state = BfloatState{};
  HUSSAR_TRY(fill_matrix_geometry(prepare, DType::kBFloat16, state.args.conv));
  return prepare_bfloat_product(prepare, -1, state);
}

}  // namespace

extern const Kernel matmul_bf16_kernel = {.name = "matmul_bf16",
                                          .state_bytes = sizeof(BfloatState),
                                          .multiplies_in = DType::kBFloat16,
                                          .checks_shapes = true,
                                          .prepare = prepare,
                                          .run = run_bfloat_step};
extern const Tactic matmul_bf16_tactic = {.kernel = "matmul_bf16",
                                          .supports = supports,
                                          .cost = cost,
                                          .configurations = configurations,
                                          .pack = pack,
                                          .unpack = unpack};

}  // namespace hussar
