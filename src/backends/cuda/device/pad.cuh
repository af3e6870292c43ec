// Pad of any elements: words of the last loop that lie side by side move together.
//
// Defined before: RANK, the loops; WORD; MODE, 0 constant, 1 reflect, 2 edge, 3 wrap.
#pragma once

struct Pad {
  long long units;
  long long input[RANK], output[RANK], before[RANK], input_strides[RANK], output_strides[RANK];
  const WORD* from;
  const WORD* value;  // null: zeros
  WORD* to;
};

// The place of the input that an output place shows; -1: none.
__device__ __forceinline__ long long source_of(long long at, long long size) {
  if (at >= 0 && at < size) return at;
  if (MODE == 0 || size == 0) return -1;
  if (MODE == 2) return at < 0 ? 0 : size - 1;
  if (MODE == 1 && size == 1) return 0;
  const long long period = MODE == 1 ? 2 * (size - 1) : size;
  at = (at % period + period) % period;
  return at < size ? at : period - at;
}

extern "C" __global__ void __launch_bounds__(256) pad(const __grid_constant__ Pad work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long unit = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; unit < work.units; unit += step) {
    long long rest = unit, from = 0, to = 0;
    bool is_inside = true;
#pragma unroll
    for (int axis = RANK - 1; axis >= 0; --axis) {
      const long long at = axis == 0 ? rest : rest % work.output[axis];
      if (axis > 0) rest /= work.output[axis];
      const long long source = source_of(at - work.before[axis], work.input[axis]);
      is_inside = is_inside && source >= 0;
      from += source * work.input_strides[axis];
      to += at * work.output_strides[axis];
    }
    WORD word = {};
    if (is_inside) {
      word = work.from[from];
    } else if (work.value != nullptr) {
      word = *work.value;
    }
    work.to[to] = word;
  }
}
