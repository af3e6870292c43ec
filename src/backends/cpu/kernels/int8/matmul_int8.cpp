// matmul_int8: rows of uint8 activations times a constant matrix of int8 weights.
#include "backends/cpu/int8_packing.h"
#include "backends/cpu/int8_steps.h"
#include "backends/cpu/matrix_shape.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

double cost(const Problem& problem) {
  const Shape& b = problem.input(1)->constant->shape();
  return int8_cost(problem, Problem::elements(problem.output()) / static_cast<double>(b[1]), b[0], b[1], 1);
}

std::vector<Configuration> configurations(const Problem& problem) {
  return int8_configurations(problem, cost(problem));
}

Status pack(Packing& packing) {
  const Tensor b = *packing.node.inputs[1]->constant;
  const int64_t k = b.shape()[0], n = b.shape()[1];
  Tensor packed(DType::kInt8, {int8_weight_bytes(k, n)});
  pack_int8_weights(b.data<int8_t>(), k, n, n, 1, packed.data<int8_t>());
  remember_matrix_shape(packing.node, k, n);
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) {
  const auto [k, n] = recall_matrix_shape(packing.node);
  const Tensor packed = *packing.node.inputs[1]->constant;
  const bool fits = k >= 1 && n >= 1 && k <= packed.elements() && packed.dtype() == DType::kInt8 &&
                    packed.elements() % int8_panel_bytes(k) == 0 &&
                    packed.elements() / int8_panel_bytes(k) == int8_panel_count(n);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "{}: packed weights that do not hold {} x {}",
               describe(packing.node), k, n);
  Tensor unpacked(DType::kInt8, {k, n});
  unpack_int8_weights(packed.data<int8_t>(), k, n, n, 1, unpacked.data<int8_t>());
  packing.replace(1, std::move(unpacked));
  return {};
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<Int8State>();
  state = Int8State{};
  HUSSAR_TRY(fill_matrix_geometry(prepare, DType::kInt8, state.args.conv));
  return prepare_int8_product(prepare, state);
}

}  // namespace

extern const Kernel matmul_int8_kernel = {.name = "matmul_int8",
                                          .state_bytes = sizeof(Int8State),
                                          .multiplies_in = DType::kInt8,
                                          .checks_shapes = true,
                                          .prepare = prepare,
                                          .run = run_int8_product};
extern const Tactic matmul_int8_tactic = {.kernel = "matmul_int8",
                                          .supports = check_int8_matrix,
                                          .cost = cost,
                                          .configurations = configurations,
                                          .pack = pack,
                                          .unpack = unpack};

}  // namespace hussar
