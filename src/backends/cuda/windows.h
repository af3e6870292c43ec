// Windows of device/convolution_rows.cuh, as the host passes them.
#pragma once
#include "backends/cuda/convolution.h"

namespace hussar::cuda {

struct Windows {
  int64_t pitch;
  int32_t input[3], output[3], strides[3], pads[3], dilations[3];
};

inline Windows windows_of(const Convolution& conv) {
  Windows windows{};
  windows.pitch = conv.x_pitch;
  for (int axis = 0; axis < 3; ++axis) {
    windows.input[axis] = static_cast<int32_t>(conv.input[axis]);
    windows.output[axis] = static_cast<int32_t>(conv.output[axis]);
    windows.strides[axis] = static_cast<int32_t>(conv.strides[axis]);
    windows.pads[axis] = static_cast<int32_t>(conv.pads[axis]);
    windows.dilations[axis] = static_cast<int32_t>(conv.dilations[axis]);
  }
  return windows;
}

}  // namespace hussar::cuda
