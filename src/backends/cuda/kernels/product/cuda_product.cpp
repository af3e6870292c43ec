// cuda_product: dense products with tensor cores as every GPU from Ampere on has them; FP32 with multiply-adds.
#include "backends/cuda/ampere_product.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_dense_product(problem)) return refusal;
  return check_ampere_types(problem);
}

double cost(const Problem& problem) {
  auto product = dense_product(problem.node);
  return product ? memory_cost(problem) + ampere_time(*product, problem) : 1e9;
}

Status pack(Packing& packing) {
  turn_weights(packing);
  Node& node = packing.node;
  Defines defines;
  define_ampere(node, HUSSAR_TRY(dense_product(node)), packing.target, defines);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(node)) +
                                  assemble({}, {"half.cuh", "product_contract.cuh", "shared_copies.cuh",
                                                "warp_product.cuh", "product_ampere.cuh"}));
}

Status unpack(Packing& packing) {
  forget_ampere(packing.node);
  return turn_weights_back(packing);
}

Status prepare(Prepare& prepare) {
  const PlanStep& step = prepare.step;
  const DenseProduct product =
      HUSSAR_TRY(dense_product(step.op, step.attributes, prepare.inputs[0], prepare.inputs[1], prepare.outputs[0]));
  return prepare_ampere(prepare, product, prepare.state_as<AmpereLaunch>());
}

Status run(const Run& run) { return launch_ampere(run, run.state_as<AmpereLaunch>(), run.inputs[0].data, nullptr); }

}  // namespace

extern const Kernel cuda_product_kernel = {.name = "cuda_product",
                                           .place = Place::kDevice,
                                           .state_bytes = sizeof(AmpereLaunch),
                                           .prepare = prepare,
                                           .run = run};
extern const Tactic cuda_product_tactic = {.kernel = "cuda_product",
                                           .place = Place::kDevice,
                                           .supports = supports,
                                           .cost = cost,
                                           .pack = pack,
                                           .unpack = unpack};

}  // namespace hussar
