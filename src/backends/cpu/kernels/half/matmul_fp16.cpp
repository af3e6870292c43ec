// matmul_fp16: MatMul with a constant right side that multiplies in FP16, on FP32 activations, where that is allowed.
#include <algorithm>

#include "backends/cpu/half_packing.h"
#include "backends/cpu/half_steps.h"
#include "backends/cpu/isa.h"
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

double cost(const Problem& problem) {
  const MatrixFacts b = matrix_facts(problem.node);
  // Twice the rate of matmul_tile, and half the bytes of weights. Beside the matrix unit, whose rate is that of a core
  // with a busy hyperthread (matrix_steps.cpp), on the same terms.
  const double rate = problem.target.isa >= static_cast<int>(Isa::kAmx) ? 1.2e5 : 1.6e5;
  const double flops = 2 * Problem::elements(problem.output()) * static_cast<double>(b.k);
  const double bytes =
      4 * Problem::elements(problem.input(0)) + 2 * static_cast<double>(half_weight_elements(b.k, b.n));
  return std::max(flops / rate * half_waste(b.k, b.n), bytes / 1e4) / problem.target.threads + 1;
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
extern const Tactic matmul_fp16_tactic = {
    .kernel = "matmul_fp16", .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
