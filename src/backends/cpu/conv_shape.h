// What all convolution kernels read from a Conv step.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar::cpu {

// Channels-last FP32 with constant weights and, if any, a constant or computed bias; 1 to 3 spatial dimensions.
Refusal check_conv(const Problem& problem);

// Two per multiply-add; symbolic dimensions count as 64.
double conv_flops(const Problem& problem);

// Packed weights no longer tell the kernel's size: it is kept in the attributes kernel_shape and hussar_channels
// (channels per group).
void remember_kernel_shape(Node& node, const Shape& filter);

// Which input of the step is the convolution's own bias: 2, or -1 when it has none.
int32_t bias_input(const Prepare& prepare);

// Sizes, strides, pads (auto_pad settled) and pitches from the step's attributes and shapes; no pointers. depthwise:
// the weights are packed as the panels of taps x channels. Checks everything that the kernels rely on.
Status fill_conv_args(const Prepare& prepare, bool depthwise, ConvArgs& args);

}  // namespace hussar::cpu
