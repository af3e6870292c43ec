// matmul_amx: FP32 MatMul with a constant right side on the matrix unit, from split bfloat16.
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/amx/matrix_product.h"
#include "backends/cpu/matrix_packing.h"
#include "backends/cpu/matrix_shape.h"
#include "backends/cpu/matrix_steps.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (!is_matrix_product(problem.node)) return "op";
  if (auto refusal = check_matrix_unit(problem)) return refusal;
  if (auto refusal = check_constant_matrix(problem)) return refusal;
  return check_epilogue(problem);
}

double cost(const Problem& problem) {
  const MatrixFacts b = matrix_facts(problem.node);
  const double rows = Problem::elements(problem.output()) / static_cast<double>(b.n);
  return matrix_microseconds(problem, rows, static_cast<double>(matrix_channels(b.k)),
                             static_cast<double>(panel_count(b.n) * 16));
}

std::vector<Configuration> configurations(const Problem& problem) {
  return matrix_configurations(problem, cost(problem));
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const MatrixFacts b = matrix_facts(node);
  Tensor packed(DType::kBFloat16, {matrix_weight_elements(1, b.k, b.n)});
  pack_matrix_weights(b.data, 1, b.k, b.n, b.row_stride, b.column_stride, packed.data<uint16_t>());
  remember_matrix_shape(node, b.k, b.n);
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_matrix(packing, pack, decode_matrix_weights); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<MatrixState>();
  state = MatrixState{};
  ConvArgs& conv = state.args.conv;
  HUSSAR_TRY(fill_matrix_geometry(prepare, DType::kBFloat16, conv));
  HUSSAR_TRY(
      check_packed_weights(prepare, {matrix_channels(conv.channels), panel_count(conv.filters) * kPanelColumns, 2}));
  return prepare_matrix_product(prepare, -1, state);
}

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
