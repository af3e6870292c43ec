// cuda_product_hopper: dense products on Hopper, of halves, BF16, in TF32 or of bytes, with its copy engine and
// warpgroup products.
#include "backends/cuda/hopper_product.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_dense_product(problem)) return refusal;
  return check_hopper(problem);
}

double cost(const Problem& problem) {
  auto product = dense_product(problem.node);
  return product ? std::max(memory_cost(problem), hopper_time(*product, {problem.dtype(0), product->k})) : 1e9;
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto product = dense_product(problem.node);
  return product ? hopper_configurations(problem.node, *product, {problem.dtype(0), product->k}, memory_cost(problem))
                 : std::vector<Configuration>();
}

Status pack(Packing& packing) {
  turn_weights(packing);
  const DenseProduct product = HUSSAR_TRY(dense_product(packing.node));
  return attach_hopper(packing, product, {packing.node.inputs[0]->dtype, product.k}, {});
}

Status unpack(Packing& packing) {
  forget_hopper(packing.node);
  return turn_weights_back(packing);
}

Status prepare(Prepare& prepare) {
  const DenseProduct product = HUSSAR_TRY(dense_product(prepare.step.op, prepare.step.attributes, prepare.inputs[0],
                                                        prepare.inputs[1], prepare.outputs[0]));
  return prepare_hopper_product(prepare, product, false);
}

}  // namespace

extern const Kernel cuda_product_hopper_kernel = {.name = "cuda_product_hopper",
                                                  .place = Place::kDevice,
                                                  .state_bytes = sizeof(HopperProduct),
                                                  .prepare = prepare,
                                                  .run = run_hopper_product};
extern const Tactic cuda_product_hopper_tactic = {.kernel = "cuda_product_hopper",
                                                  .place = Place::kDevice,
                                                  .supports = supports,
                                                  .cost = cost,
                                                  .configurations = configurations,
                                                  .pack = pack,
                                                  .unpack = unpack};

}  // namespace hussar
