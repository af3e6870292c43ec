// cuda_product_sparse: products of halves, bytes and FP8 with weights of which two of four are zero, on Hopper's sparse
// tensor cores.
#include "backends/cuda/hopper_product.h"
#include "backends/cuda/sparse_weights.h"

namespace hussar {
namespace {

using namespace cuda;

HopperOperands operands_of(DType dtype, const DenseProduct& product) { return {dtype, product.k, true}; }

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_sparse(problem, check_dense_product(problem))) return refusal;
  return check_hopper(problem);
}

double cost(const Problem& problem) {
  auto product = dense_product(problem.node);
  if (!product) return 1e9;
  return std::max(sparse_memory_cost(problem), hopper_time(*product, operands_of(problem.dtype(0), *product)));
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto product = dense_product(problem.node);
  if (!product) return {};
  return hopper_configurations(problem.node, *product, operands_of(problem.dtype(0), *product),
                               sparse_memory_cost(problem));
}

Status pack(Packing& packing) {
  const DenseProduct product = HUSSAR_TRY(dense_product(packing.node));
  return pack_hopper_sparse(packing, product, {});
}

Status prepare(Prepare& prepare) {
  const PlanStep& step = prepare.step;
  const Operand w = HUSSAR_TRY(hopper_sparse_weights(prepare));
  const DenseProduct product =
      HUSSAR_TRY(product_as_it_was(step.op, step.attributes, prepare.inputs[0], w, prepare.outputs[0]));
  HUSSAR_TRY(check_alignment(step, product));
  return prepare_hopper_product(prepare, product, true);
}

}  // namespace

extern const Kernel cuda_product_sparse_kernel = {.name = "cuda_product_sparse",
                                                  .place = Place::kDevice,
                                                  .state_bytes = sizeof(HopperProduct),
                                                  .checks_shapes = true,
                                                  .prepare = prepare,
                                                  .run = run_hopper_product};
extern const Tactic cuda_product_sparse_tactic = {.kernel = "cuda_product_sparse",
                                                  .place = Place::kDevice,
                                                  .two_of_four = true,
                                                  .supports = supports,
                                                  .cost = cost,
                                                  .configurations = configurations,
                                                  .pack = pack,
                                                  .unpack = unpack_hopper_sparse};

}  // namespace hussar
