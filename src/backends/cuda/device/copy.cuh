// The element itself, for device/elementwise.cuh. Along the innermost loop the input is contiguous, stays, or, without
// vectors, is anything.
#pragma once

__device__ __forceinline__ void compute(const Elementwise& work, const long long (&offsets)[INPUTS],
                                        COMPUTE_TYPE (&value)[VECTOR]) {
  load(static_cast<const OUTPUT_TYPE*>(work.inputs[0]) + offsets[0], value);
}
