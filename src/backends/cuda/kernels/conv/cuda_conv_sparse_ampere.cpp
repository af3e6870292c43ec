// cuda_conv_sparse_ampere: convolutions of halves, BF16 and bytes as products of windows and filters (implicit GEMM)
// with filters of which two of four channels are zero, on sparse tensor cores as every GPU from Ampere on has them.
#include "backends/cuda/ampere_product.h"
#include "backends/cuda/byte_product.h"
#include "backends/cuda/sparse_weights.h"
#include "backends/cuda/windows.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_ampere_sparse(problem, check_window_product(problem))) return refusal;
  return check_dense_product(problem) ? Refusal() : Refusal("has no windows: a product");
}

constexpr double kWindows = 1.2;  // finding them takes time: as of cuda_conv

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  return conv ? sparse_memory_cost(problem) + kWindows * ampere_time(window_product(*conv), problem, true) : 1e9;
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto conv = convolution(problem.node);
  return conv ? ampere_configurations(window_product(*conv), problem, sparse_memory_cost(problem), kWindows)
              : std::vector<Configuration>();
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Convolution conv = HUSSAR_TRY(convolution(node));
  make_table(packing);
  pack_sparse(packing, ampere_order(node.inputs[0]->dtype));
  Defines defines;
  define_ampere(node, window_product(conv), packing.target, defines, true);
  define_windows(conv, defines);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(node)) +
                                  assemble({}, {"half.cuh", "product_contract.cuh", "convolution_rows.cuh",
                                                "shared_copies.cuh", "warp_product.cuh", "product_ampere.cuh"}));
}

Status unpack(Packing& packing) {
  Node& node = packing.node;
  forget_ampere(node);
  HUSSAR_TRY(unpack_sparse(packing, ampere_order(node.inputs[0]->dtype)));
  return is_byte_product(node.op) ? forget_table(packing) : Status();
}

struct State {
  AmpereLaunch launch;
  Windows windows;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const PlanStep& step = prepare.step;
  const Operand w = HUSSAR_TRY(sparse_weights(prepare, ampere_order(prepare.inputs[0].dtype)));
  const Convolution conv =
      HUSSAR_TRY(convolution(step.op, step.attributes, prepare.inputs[0], w.shape, prepare.outputs[0]));
  HUSSAR_CHECK(conv.groups == 1 && conv.channels % (is_byte_product(step.op) ? 16 : 8) == 0,
               ErrorCode::kPlanIncompatible, "step '{}': its channels are not multiples of 16 bytes", step.name);
  HUSSAR_TRY(prepare_ampere(prepare, window_product(conv), state.launch, true));
  state.windows = windows_of(conv);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Windows windows = state.windows;
  return launch_ampere(run, state.launch, run.inputs[0].data, &windows);
}

}  // namespace

extern const Kernel cuda_conv_sparse_ampere_kernel = {.name = "cuda_conv_sparse_ampere",
                                                      .place = Place::kDevice,
                                                      .state_bytes = sizeof(State),
                                                      .checks_shapes = true,
                                                      .prepare = prepare,
                                                      .run = run};
extern const Tactic cuda_conv_sparse_ampere_tactic = {.kernel = "cuda_conv_sparse_ampere",
                                                      .place = Place::kDevice,
                                                      .two_of_four = true,
                                                      .supports = supports,
                                                      .cost = cost,
                                                      .configurations = configurations,
                                                      .pack = pack,
                                                      .unpack = unpack};

}  // namespace hussar
