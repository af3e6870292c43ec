// The windows of convolutions, as the copy engine walks them.
#include "backends/cuda/hopper_windows.h"

namespace hussar::cuda {

// Of the three dimensions the copy engine has two, and its places and offsets are of eight bits
// (cuTensorMapEncodeIm2col).
Refusal check_window_engine(const Convolution& conv) {
  if (conv.input[0] != 1 || conv.kernel[0] != 1 || conv.pads[0] != 0) return "three dimensions";
  for (int axis = 1; axis < 3; ++axis) {
    const int64_t last = (conv.output[axis] - 1) * conv.strides[axis] - conv.pads[axis] - (conv.input[axis] - 1);
    if (conv.pads[axis] < 0 || conv.pads[axis] > 128 || last < -128 || last > 127) return "padding";
    if ((conv.kernel[axis] - 1) * conv.dilations[axis] > 255) return "a wide filter";
    if (conv.strides[axis] > 8) return "strides";
  }
  return std::nullopt;
}

DenseProduct hopper_work(const Convolution& conv, const HopperOperands& operands) {
  DenseProduct product = window_product(conv);
  product.k = operands.whole_k(conv.taps());
  return product;
}

double window_time(const Convolution& conv, const HopperOperands& operands) {
  constexpr double kMultiprocessors = 132;
  const auto rows = static_cast<double>(conv.pixels() * operands.whole_k(conv.taps()) / operands.block_k());
  return kLaunchMicroseconds + rows * kWindowMicroseconds / kMultiprocessors;
}

void put_windows(const Convolution& conv, const HopperLaunch& launch, DType dtype, WindowMap& map, WindowSteps& steps) {
  map = WindowMap{};
  map.dtype = dtype;
  map.channels = launch.block_k;
  map.swizzle_bytes = launch.row_bytes;
  map.pixels = static_cast<uint32_t>(launch.x_rows);
  map.sizes[0] = static_cast<uint64_t>(conv.channels);
  map.sizes[3] = static_cast<uint64_t>(conv.batch);
  uint64_t pitch = static_cast<uint64_t>(conv.x_pitch) * dtype_size(dtype);
  for (int dimension = 0; dimension < 2; ++dimension) {
    const int axis = 2 - dimension, index = 1 - dimension;
    map.sizes[1 + dimension] = static_cast<uint64_t>(conv.input[axis]);
    map.strides[dimension] = pitch;
    pitch *= static_cast<uint64_t>(conv.input[axis]);
    map.step[1 + dimension] = static_cast<uint32_t>(conv.strides[axis]);
    map.lower[dimension] = static_cast<int32_t>(-conv.pads[axis]);
    // As many places as the output has, whatever the padding behind.
    const int64_t last = (conv.output[axis] - 1) * conv.strides[axis] - conv.pads[axis];
    map.upper[dimension] = static_cast<int32_t>(last - (conv.input[axis] - 1));
    steps.output[index] = static_cast<int32_t>(conv.output[axis]);
    steps.strides[index] = static_cast<int32_t>(conv.strides[axis]);
    steps.pads[index] = static_cast<int32_t>(conv.pads[axis]);
    steps.dilations[index] = static_cast<int32_t>(conv.dilations[axis]);
  }
  map.strides[2] = pitch;
}

Status prepare_hopper_windows(Prepare& prepare, const Convolution& conv, const HopperOperands& operands) {
  HopperWindows& state = prepare.state_as<HopperWindows>();
  const PlanStep& step = prepare.step;
  const Refusal refusal = check_window_engine(conv);
  HUSSAR_CHECK(!refusal, ErrorCode::kUsage, "step '{}': its kernel does not take this shape: {}", step.name, *refusal);
  HUSSAR_TRY(prepare_hopper(prepare, window_product(conv), operands, state.launch));
  put_windows(conv, state.launch, operands.dtype, state.x, state.steps);
  return {};
}

Status run_hopper_windows(const Run& run) {
  const HopperWindows& state = run.state_as<HopperWindows>();
  if (state.launch.sizes.m == 0) return {};
  TensorMap x = HUSSAR_TRY(queue_of(run.device).encode(state.x, run.inputs[0].data));
  WindowSteps steps = state.steps;
  return launch_hopper(run, state.launch, x, &steps);
}

}  // namespace hussar::cuda
