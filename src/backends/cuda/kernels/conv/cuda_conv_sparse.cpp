// cuda_conv_sparse: convolutions of halves, bytes and FP8 as products of windows and filters of which two of four
// channels are zero, on Hopper's sparse tensor cores.
#include "backends/cuda/hopper_windows.h"
#include "backends/cuda/sparse_weights.h"

namespace hussar {
namespace {

using namespace cuda;

HopperOperands operands_of(DType dtype, const Convolution& conv) { return {dtype, conv.channels, true}; }

// Filters lie as [filter][tap][channel] without gaps, so that blocks of k are of one tap each where taps are whole
// blocks.
Refusal check_channels(const Convolution& conv, DType dtype) {
  return conv.channels % operands_of(dtype, conv).block_k() == 0
             ? Refusal()
             : Refusal("channels of a tap are no whole blocks of 128 bytes");
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_sparse(problem, check_window_product(problem))) return refusal;
  if (Refusal refusal = check_hopper(problem)) return refusal;
  if (!check_dense_product(problem)) return "has no windows: a product";
  const Convolution conv = *convolution(problem.node);
  if (Refusal refusal = check_channels(conv, problem.dtype(0))) return refusal;
  return check_window_engine(conv);
}

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  if (!conv) return 1e9;
  const double sums = hopper_time(window_product(*conv), operands_of(problem.dtype(0), *conv));
  return std::max(sparse_memory_cost(problem), sums);
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto conv = convolution(problem.node);
  if (!conv) return {};
  return hopper_configurations(problem.node, window_product(*conv), operands_of(problem.dtype(0), *conv),
                               sparse_memory_cost(problem));
}

Status pack(Packing& packing) {
  const Convolution conv = HUSSAR_TRY(convolution(packing.node));
  Defines defines;
  define_windows(conv, defines);
  return pack_hopper_sparse(packing, window_product(conv), std::move(defines));
}

Status prepare(Prepare& prepare) {
  const PlanStep& step = prepare.step;
  const DType dtype = prepare.inputs[0].dtype;
  const Operand w = HUSSAR_TRY(hopper_sparse_weights(prepare));
  const Convolution conv =
      HUSSAR_TRY(convolution(step.op, step.attributes, prepare.inputs[0], w.shape, prepare.outputs[0]));
  HUSSAR_CHECK(conv.groups == 1 && !check_channels(conv, dtype), ErrorCode::kPlanIncompatible,
               "step '{}': its channels are not multiples of 128 bytes", step.name);
  HUSSAR_TRY(check_alignment(step, window_product(conv)));
  return prepare_hopper_windows(prepare, conv, operands_of(dtype, conv));
}

}  // namespace

extern const Kernel cuda_conv_sparse_kernel = {.name = "cuda_conv_sparse",
                                               .place = Place::kDevice,
                                               .state_bytes = sizeof(HopperWindows),
                                               .checks_shapes = true,
                                               .prepare = prepare,
                                               .run = run_hopper_windows};
extern const Tactic cuda_conv_sparse_tactic = {.kernel = "cuda_conv_sparse",
                                               .place = Place::kDevice,
                                               .two_of_four = true,
                                               .supports = supports,
                                               .cost = cost,
                                               .configurations = configurations,
                                               .pack = pack,
                                               .unpack = unpack_hopper_sparse};

}  // namespace hussar
