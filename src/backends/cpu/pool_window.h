// The windows of pools.
#pragma once
#include "backends/cpu/kernels/pool/pool.h"
#include "hussar/tensor.h"
#include "tensor/attributes.h"

namespace hussar::cpu {

// Sizes, strides, dilations and padding of a pool from x to y; the rest of `args` stays as it is.
void read_window(const Attributes& attributes, const Shape& x, const Shape& y, PoolArgs& args);

// The taps [begin, end) of a window along one axis that lie inside of the input; `padded`: the number inside of the
// padded one. Tap 0 reads position `first`.
struct WindowTaps {
  int64_t begin, end, padded, first;
};
WindowTaps window_taps(const PoolArgs& args, int axis, int64_t output);

}  // namespace hussar::cpu
