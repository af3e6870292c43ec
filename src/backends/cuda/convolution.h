// Conv and ConvTranspose as sizes and strides: channels-last, up to three spatial dimensions.
#pragma once
#include "backends/cuda/kernel_support.h"

namespace hussar::cuda {

// Of the three spatial dimensions, those that are missing come first and are of size 1.
struct Convolution {
  int64_t batch = 1, groups = 1;
  int64_t channels = 1, filters = 1;  // per group
  int64_t input[3] = {1, 1, 1}, output[3] = {1, 1, 1}, kernel[3] = {1, 1, 1};
  int64_t strides[3] = {1, 1, 1}, pads[3] = {0, 0, 0}, dilations[3] = {1, 1, 1};
  int64_t x_pitch = 1, y_pitch = 1;

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t pixels() const { return batch * output[0] * output[1] * output[2]; }
  // A product of pixels and filters.
  bool is_pointwise() const;
};

// Of a Conv or a ConvTranspose, whose pads are what is cut off in front. `w` is the filter in ONNX's form. Fails where
// attributes and shapes make no convolution.
Result<Convolution> convolution(std::string_view op, const Attributes& attributes, const Operand& x, const Shape& w,
                                const Operand& y);

// Of a node whose filter has not been packed.
Result<Convolution> convolution(const Node& node);

// What all kernels ask of it: operands that they multiply (check_factors), constant weights, channels-last layout.
// `ops` are those of the kernel.
Refusal check_convolution(const Problem& problem, std::initializer_list<std::string_view> ops = {"Conv"});

}  // namespace hussar::cuda
