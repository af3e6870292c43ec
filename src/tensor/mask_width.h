// mask_width: how many output channels share their 2:4 masks.
#pragma once
#include <cstdint>
#include <string>

#include "tensor/shared_mask.h"

namespace hussar {

// n: all output channels share one mask. 16, 32, 64 or 128: blocks of so many do. 1: every channel has a mask of its
// own. 0: the weights are not 2:4, k is no multiple of 4, or they are neither float32, float16,
// float8e4m3fn nor int8.
int64_t mask_width(const Tensor& weights, WeightForm form);
// "2:4x64", "2:4", or "" for 0.
std::string spell_mask_width(int64_t width);

}  // namespace hussar
