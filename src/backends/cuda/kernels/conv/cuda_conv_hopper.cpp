// cuda_conv_hopper: convolutions, of halves, BF16 or in TF32, as products of windows and filters (implicit GEMM) on
// Hopper, whose copy engine finds the windows.
#include "backends/cuda/byte_product.h"
#include "backends/cuda/hopper_windows.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_window_product(problem)) return refusal;
  if (Refusal refusal = check_hopper(problem)) return refusal;
  const Convolution conv = *convolution(problem.node);
  if (!check_dense_product(problem)) return "has no windows: a product";
  return check_window_engine(conv);
}

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  if (!conv) return 1e9;
  const HopperOperands operands{problem.dtype(0), conv->channels};
  return std::max(
      {memory_cost(problem), window_time(*conv, operands), hopper_time(hopper_work(*conv, operands), operands)});
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto conv = convolution(problem.node);
  if (!conv) return {};
  const HopperOperands operands{problem.dtype(0), conv->channels};
  const double least = std::max(memory_cost(problem), window_time(*conv, operands));
  return hopper_configurations(problem.node, hopper_work(*conv, operands), operands, least);
}

Status pack(Packing& packing) {
  const Convolution conv = HUSSAR_TRY(convolution(packing.node));
  make_table(packing);
  HUSSAR_TRY(turn_filter(packing));
  Defines defines;
  define_windows(conv, defines);
  const HopperOperands operands{packing.node.inputs[0]->dtype, conv.channels};
  return attach_hopper(packing, hopper_work(conv, operands), operands, std::move(defines));
}

Status unpack(Packing& packing) {
  forget_hopper(packing.node);
  return turn_filter_back(packing);
}

Status prepare(Prepare& prepare) {
  const PlanStep& step = prepare.step;
  const Convolution conv =
      HUSSAR_TRY(convolution(step.op, step.attributes, prepare.inputs[0], prepare.inputs[1].shape, prepare.outputs[0]));
  return prepare_hopper_windows(prepare, conv, {prepare.inputs[0].dtype, conv.channels});
}

}  // namespace

extern const Kernel cuda_conv_hopper_kernel = {.name = "cuda_conv_hopper",
                                               .place = Place::kDevice,
                                               .state_bytes = sizeof(HopperWindows),
                                               .prepare = prepare,
                                               .run = run_hopper_windows};
extern const Tactic cuda_conv_hopper_tactic = {.kernel = "cuda_conv_hopper",
                                               .place = Place::kDevice,
                                               .supports = supports,
                                               .cost = cost,
                                               .configurations = configurations,
                                               .pack = pack,
                                               .unpack = unpack};

}  // namespace hussar
