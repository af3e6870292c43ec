// Places of images from the number of a thread.
#pragma once

// The index along the innermost dimension that is left, which is taken off.
__device__ __forceinline__ int take(unsigned& rest, long long size) {
  const unsigned at = rest % static_cast<unsigned>(size);
  rest /= static_cast<unsigned>(size);
  return static_cast<int>(at);
}
