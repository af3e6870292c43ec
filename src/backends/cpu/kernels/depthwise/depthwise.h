// Depthwise convolution in FP32: every channel has its own kernel. Channels last, any kernel, stride, dilation,
// padding.
//
// input [batch][in height][in width][channels] with input_pitch elements from pixel to pixel, output likewise with
// output_pitch. weights: the panels (panels.h) of the matrix (kernel height * kernel width) x channels. The epilogue
// (kernels/tile/tile.h) counts output pixels as rows and channels as columns. One dimension is height 1. Shares as in
// tile.h: rows of output pixels, and channels when the rows are few; the result does not depend on the share count. No
// scratch memory.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar::cpu {

struct DepthwiseArgs {
  int64_t batch = 1;
  int64_t channels = 0;
  int64_t in[2] = {1, 1};  // height, width
  int64_t out[2] = {1, 1};
  int64_t kernel[2] = {1, 1};
  int64_t stride[2] = {1, 1};
  int64_t dilation[2] = {1, 1};
  int64_t pad[2] = {0, 0};  // at the beginning
  const float* input = nullptr;
  int64_t input_pitch = 0;
  const float* weights = nullptr;
  float* output = nullptr;
  int64_t output_pitch = 0;
  Epilogue epilogue;
  CutAlong along = CutAlong::kAny;  // kPanels: 16 channels each
};

struct DepthwiseTable {
  void (*conv)(const DepthwiseArgs& args, Share share);
};

HUSSAR_DECLARE_PER_ISA(DepthwiseTable, depthwise_table)

}  // namespace hussar::cpu
