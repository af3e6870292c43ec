// matmul_fp16: MatMul with a constant right side that multiplies in FP16, on FP32 activations, where that is allowed.
#include "backends/cpu/half_packing.h"
#include "backends/cpu/half_steps.h"
#include "backends/cpu/matrix_shape.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (!is_matrix_product(problem.node)) return "op";
  if (auto refusal = check_half_target(problem)) return refusal;
  if (auto refusal = check_constant_matrix(problem)) return refusal;
  if (auto refusal = check_half_weights(*problem.input(1)->constant)) return refusal;
  return check_epilogue(problem);
}

std::vector<Configuration> configurations(const Problem& problem) {
  const MatrixFacts b = matrix_facts(problem.node);
  const double rows = Problem::elements(problem.output()) / static_cast<double>(b.n);
  return half_configurations(problem, 1, rows, b.k, b.n, half_matmul_cost(problem));
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const MatrixFacts b = matrix_facts(node);
  Tensor packed(DType::kFloat16, {half_weight_elements(b.k, b.n)});
  pack_half_weights(b.data, b.k, b.n, b.row_stride, b.column_stride, packed.data<uint16_t>());
  remember_matrix_shape(node, b.k, b.n);
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_matrix(packing, pack, decode_half_weights, kHalfProbeBits); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<HalfState>();
  state = HalfState{};
  HUSSAR_TRY(fill_matrix_geometry(prepare, DType::kFloat16, state.args.conv));
  return prepare_half_product(prepare, -1, state);
}

}  // namespace

extern const Kernel matmul_fp16_kernel = {.name = "matmul_fp16",
                                          .state_bytes = sizeof(HalfState),
                                          .multiplies_in = DType::kFloat16,
                                          .checks_shapes = true,
                                          .prepare = prepare,
                                          .run = run_half_step};
extern const Tactic matmul_fp16_tactic = {.kernel = "matmul_fp16",
                                          .supports = supports,
                                          .cost = half_matmul_cost,
                                          .configurations = configurations,
                                          .pack = pack,
                                          .unpack = unpack};

}  // namespace hussar
