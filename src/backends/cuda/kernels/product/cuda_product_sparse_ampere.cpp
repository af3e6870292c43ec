// cuda_product_sparse_ampere: products of halves, BF16 and bytes with weights of which two of four are zero, on sparse
// tensor cores as every GPU from Ampere on has them.
#include "backends/cuda/ampere_product.h"
#include "backends/cuda/byte_product.h"
#include "backends/cuda/sparse_weights.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) { return check_ampere_sparse(problem, check_dense_product(problem)); }

double cost(const Problem& problem) {
  auto product = dense_product(problem.node);
  return product ? sparse_memory_cost(problem) + ampere_time(*product, problem, true) : 1e9;
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto product = dense_product(problem.node);
  return product ? ampere_configurations(*product, problem, sparse_memory_cost(problem)) : std::vector<Configuration>();
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const DenseProduct product = HUSSAR_TRY(dense_product(node));
  make_table(packing);
  pack_sparse(packing, ampere_order(node.inputs[0]->dtype));
  Defines defines;
  define_ampere(node, product, packing.target, defines, true);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(node)) +
                                  assemble({}, {"half.cuh", "product_contract.cuh", "shared_copies.cuh",
                                                "warp_product.cuh", "product_ampere.cuh"}));
}

Status unpack(Packing& packing) {
  Node& node = packing.node;
  forget_ampere(node);
  HUSSAR_TRY(unpack_sparse(packing, ampere_order(node.inputs[0]->dtype)));
  return is_byte_product(node.op) ? forget_table(packing) : Status();
}

Status prepare(Prepare& prepare) {
  const PlanStep& step = prepare.step;
  const Operand w = HUSSAR_TRY(sparse_weights(prepare, ampere_order(prepare.inputs[0].dtype)));
  const DenseProduct product =
      HUSSAR_TRY(product_as_it_was(step.op, step.attributes, prepare.inputs[0], w, prepare.outputs[0]));
  return prepare_ampere(prepare, product, prepare.state_as<AmpereLaunch>(), true);
}

Status run(const Run& run) { return launch_ampere(run, run.state_as<AmpereLaunch>(), run.inputs[0].data, nullptr); }

}  // namespace

extern const Kernel cuda_product_sparse_ampere_kernel = {.name = "cuda_product_sparse_ampere",
                                                         .place = Place::kDevice,
                                                         .state_bytes = sizeof(AmpereLaunch),
                                                         .checks_shapes = true,
                                                         .prepare = prepare,
                                                         .run = run};
extern const Tactic cuda_product_sparse_ampere_tactic = {.kernel = "cuda_product_sparse_ampere",
                                                         .place = Place::kDevice,
                                                         .two_of_four = true,
                                                         .supports = supports,
                                                         .cost = cost,
                                                         .configurations = configurations,
                                                         .pack = pack,
                                                         .unpack = unpack};

}  // namespace hussar
