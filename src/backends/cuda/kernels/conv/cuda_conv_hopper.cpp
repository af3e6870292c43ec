// cuda_conv_hopper: convolutions, of halves, BF16 or in TF32, as products of windows and filters (implicit GEMM) on
// Hopper, whose copy engine finds the windows.
#include "backends/cuda/byte_product.h"
#include "backends/cuda/hopper_product.h"
#include "backends/cuda/windows.h"

namespace hussar {
namespace {

using namespace cuda;

// Of the three dimensions the copy engine has two, and its places and offsets are of eight bits
// (cuTensorMapEncodeIm2col).
Refusal check_engine(const Convolution& conv) {
  if (conv.input[0] != 1 || conv.kernel[0] != 1 || conv.pads[0] != 0) return "three dimensions";
  for (int axis = 1; axis < 3; ++axis) {
    const int64_t last = (conv.output[axis] - 1) * conv.strides[axis] - conv.pads[axis] - (conv.input[axis] - 1);
    if (conv.pads[axis] < 0 || conv.pads[axis] > 128 || last < -128 || last > 127) return "padding";
    if ((conv.kernel[axis] - 1) * conv.dilations[axis] > 255) return "a wide filter";
    if (conv.strides[axis] > 8) return "strides";
  }
  return std::nullopt;
}

// A tap's channels are multiplied in blocks.
DenseProduct work_of(const Convolution& conv, const HopperOperands& operands) {
  DenseProduct product = window_product(conv);
  product.k = operands.whole_k(conv.taps());
  return product;
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_window_product(problem)) return refusal;
  if (Refusal refusal = check_hopper(problem)) return refusal;
  const Convolution conv = *convolution(problem.node);
  if (!check_dense_product(problem)) return "has no windows: a product";
  return check_engine(conv);
}

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  if (!conv) return 1e9;
  const HopperOperands operands{problem.dtype(0), conv->channels};
  return std::max(memory_cost(problem), hopper_time(work_of(*conv, operands), operands));
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto conv = convolution(problem.node);
  if (!conv) return {};
  const HopperOperands operands{problem.dtype(0), conv->channels};
  return hopper_configurations(problem.node, work_of(*conv, operands), operands, memory_cost(problem));
}

Status pack(Packing& packing) {
  const Convolution conv = HUSSAR_TRY(convolution(packing.node));
  make_table(packing);
  HUSSAR_TRY(turn_filter(packing));
  Defines defines;
  define_windows(conv, defines);
  const HopperOperands operands{packing.node.inputs[0]->dtype, conv.channels};
  return attach_hopper(packing, work_of(conv, operands), operands, std::move(defines));
}

Status unpack(Packing& packing) {
  forget_hopper(packing.node);
  return turn_filter_back(packing);
}

struct State {
  HopperLaunch launch;
  WindowMap x;
  WindowSteps steps;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const PlanStep& step = prepare.step;
  const Convolution conv =
      HUSSAR_TRY(convolution(step.op, step.attributes, prepare.inputs[0], prepare.inputs[1].shape, prepare.outputs[0]));
  const Refusal refusal = check_engine(conv);
  HUSSAR_CHECK(!refusal, ErrorCode::kUsage, "step '{}': its kernel does not take this shape: {}", step.name, *refusal);
  HUSSAR_TRY(prepare_hopper(prepare, window_product(conv), {prepare.inputs[0].dtype, conv.channels}, state.launch));
  state.x = WindowMap{};
  state.x.dtype = prepare.inputs[0].dtype;
  state.x.channels = state.launch.block_k;
  state.x.swizzle_bytes = state.launch.row_bytes;
  state.x.pixels = static_cast<uint32_t>(state.launch.x_rows);
  state.x.sizes[0] = static_cast<uint64_t>(conv.channels);
  state.x.sizes[3] = static_cast<uint64_t>(conv.batch);
  uint64_t pitch = static_cast<uint64_t>(conv.x_pitch) * dtype_size(state.x.dtype);
  for (int dimension = 0; dimension < 2; ++dimension) {
    const int axis = 2 - dimension, index = 1 - dimension;
    state.x.sizes[1 + dimension] = static_cast<uint64_t>(conv.input[axis]);
    state.x.strides[dimension] = pitch;
    pitch *= static_cast<uint64_t>(conv.input[axis]);
    state.x.step[1 + dimension] = static_cast<uint32_t>(conv.strides[axis]);
    state.x.lower[dimension] = static_cast<int32_t>(-conv.pads[axis]);
    // As many places as the output has, whatever the padding behind.
    const int64_t last = (conv.output[axis] - 1) * conv.strides[axis] - conv.pads[axis];
    state.x.upper[dimension] = static_cast<int32_t>(last - (conv.input[axis] - 1));
    state.steps.output[index] = static_cast<int32_t>(conv.output[axis]);
    state.steps.strides[index] = static_cast<int32_t>(conv.strides[axis]);
    state.steps.pads[index] = static_cast<int32_t>(conv.pads[axis]);
    state.steps.dilations[index] = static_cast<int32_t>(conv.dilations[axis]);
  }
  state.x.strides[2] = pitch;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.launch.sizes.m == 0) return {};
  TensorMap x = HUSSAR_TRY(queue_of(run.device).encode(state.x, run.inputs[0].data));
  WindowSteps steps = state.steps;
  return launch_hopper(run, state.launch, x, &steps);
}

}  // namespace

extern const Kernel cuda_conv_hopper_kernel = {
    .name = "cuda_conv_hopper", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_conv_hopper_tactic = {.kernel = "cuda_conv_hopper",
                                               .place = Place::kDevice,
                                               .supports = supports,
                                               .cost = cost,
                                               .configurations = configurations,
                                               .pack = pack,
                                               .unpack = unpack};

}  // namespace hussar
