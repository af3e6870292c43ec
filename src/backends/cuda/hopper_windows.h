// Convolutions as products of windows and filters (implicit GEMM) on Hopper, whose copy engine finds the windows.
#pragma once
#include "backends/cuda/hopper_product.h"
#include "backends/cuda/windows.h"

namespace hussar::cuda {

// What the copy engine has no windows for.
Refusal check_window_engine(const Convolution& conv);

// The product that is multiplied: a tap's channels are, in whole blocks.
DenseProduct hopper_work(const Convolution& conv, const HopperOperands& operands);

// Microseconds that the copy engine takes to bring all windows, whatever they hold: a row of one tap after the other.
double window_time(const Convolution& conv, const HopperOperands& operands);

// The windows of a convolution for a kernel that has been prepared, as it takes them.
void put_windows(const Convolution& conv, const HopperLaunch& launch, DType dtype, WindowMap& map, WindowSteps& steps);

// The state of kernels whose rows of X are windows, and what they do with it.
struct HopperWindows {
  HopperLaunch launch;
  WindowMap x;
  WindowSteps steps;
};
Status prepare_hopper_windows(Prepare& prepare, const Convolution& conv, const HopperOperands& operands);
Status run_hopper_windows(const Run& run);

}  // namespace hussar::cuda
