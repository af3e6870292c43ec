// cuda_conv: convolutions as products of windows and filters (implicit GEMM) with tensor cores; FP32 with
// multiply-adds.
#include "backends/cuda/ampere_product.h"
#include "backends/cuda/byte_product.h"
#include "backends/cuda/windows.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_window_product(problem)) return refusal;
  return check_ampere_types(problem);
}

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  // Finding the windows takes time.
  return conv ? memory_cost(problem) + 1.7 * ampere_time(window_product(*conv), problem) : 1e9;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Convolution conv = HUSSAR_TRY(convolution(node));
  make_table(packing);
  HUSSAR_TRY(turn_filter(packing));
  Defines defines;
  define_ampere(node, window_product(conv), packing.target, defines);
  define_windows(conv, defines);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(node)) +
                                  assemble({}, {"half.cuh", "product_contract.cuh", "convolution_rows.cuh",
                                                "shared_copies.cuh", "warp_product.cuh", "product_ampere.cuh"}));
}

Status unpack(Packing& packing) {
  forget_ampere(packing.node);
  return turn_filter_back(packing);
}

struct State {
  AmpereLaunch launch;
  Windows windows;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const PlanStep& step = prepare.step;
  // The filter in memory has the taps before the channels, and the same shape.
  const Convolution conv =
      HUSSAR_TRY(convolution(step.op, step.attributes, prepare.inputs[0], prepare.inputs[1].shape, prepare.outputs[0]));
  HUSSAR_TRY(prepare_ampere(prepare, window_product(conv), state.launch));
  state.windows = windows_of(conv);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Windows windows = state.windows;
  return launch_ampere(run, state.launch, run.inputs[0].data, &windows);
}

}  // namespace

extern const Kernel cuda_conv_kernel = {
    .name = "cuda_conv", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_conv_tactic = {
    .kernel = "cuda_conv", .place = Place::kDevice, .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
