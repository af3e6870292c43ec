// DepthToSpace and SpaceToDepth: blocks of the image that become channels, and back.
#pragma once
#include "ops/arguments.h"

namespace hussar {

// The dims of an [N, C, H, W] input and the attribute blocksize, checked. Unknown dims are fresh.
struct BlockSpace {
  Dims dims;
  int64_t block = 1;
};
inline Result<BlockSpace> block_space(InferContext& context) {
  constexpr int64_t kLargestBlock = 1 << 15;
  BlockSpace result;
  result.block = context.attributes.get_int("blocksize", 0);
  if (result.block < 1 || result.block > kLargestBlock)
    return context.fail("blocksize {} is out of range", result.block);
  if (const Dims* dims = context.dims(0)) {
    if (dims->size() != 4) return context.fail("takes an NCHW image, not rank {}", dims->size());
    result.dims = *dims;
  } else {
    for (int axis = 0; axis < 4; ++axis) result.dims.push_back(context.fresh());
  }
  return result;
}

// dim / divisor; fails when plain integers do not divide.
inline Result<Dim> divide_exactly(const InferContext& context, const Dim& dim, int64_t divisor) {
  if (dim.is_constant() && dim.value() % divisor != 0)
    return context.fail("{} is not a multiple of {}", dim.value(), divisor);
  return floor_div(dim, Dim(divisor));
}

}  // namespace hussar
