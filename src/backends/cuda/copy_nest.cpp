// Loops of operators that move all elements of a tensor.
#include "backends/cuda/copy_nest.h"

#include <algorithm>

namespace hussar::cuda {

LoopNest copy_nest(const Shape& sizes, const int64_t* in, const int64_t* out) {
  LoopNest nest;
  nest.tensors = 2;
  nest.rank = std::max(sizes.rank(), 1);
  nest.dims[0] = 1;
  int order[kMaxRank] = {};
  for (int axis = 0; axis < sizes.rank(); ++axis) order[axis] = axis;
  std::stable_sort(order, order + sizes.rank(), [&](int a, int b) { return out[a] > out[b]; });
  for (int axis = 0; axis < sizes.rank(); ++axis) {
    nest.dims[axis] = sizes[order[axis]];
    nest.strides[0][axis] = out[order[axis]];
    nest.strides[1][axis] = in[order[axis]];
  }
  merge(nest);
  return nest;
}

LoopNest transpose_nest(const Attributes& attributes, const Operand& x, const Operand& y) {
  const int rank = x.shape.rank();
  int64_t in[kMaxRank] = {}, out[kMaxRank] = {}, moved[kMaxRank] = {};
  strides_of(x, in);
  strides_of(y, out);
  const Ints order = attributes.get_ints("perm");
  for (int axis = 0; axis < rank; ++axis) {
    moved[axis] = in[order.empty() ? rank - 1 - axis : order[static_cast<size_t>(axis)]];
  }
  return copy_nest(y.shape, moved, out);
}

LoopNest expand_nest(const Operand& x, const Operand& y) {
  int64_t in[kMaxRank] = {}, out[kMaxRank] = {}, moved[kMaxRank] = {};
  strides_of(x, in);
  strides_of(y, out);
  const int shift = y.shape.rank() - x.shape.rank();
  for (int axis = 0; axis < x.shape.rank(); ++axis) moved[axis + shift] = x.shape[axis] == 1 ? 0 : in[axis];
  return copy_nest(y.shape, moved, out);
}

bool pad_loops(LoopNest& nest, int64_t rank) {
  if (rank < nest.rank || rank > kMaxRank) return false;
  const int missing = static_cast<int>(rank) - nest.rank;
  for (int axis = static_cast<int>(rank) - 1; axis >= 0; --axis) {
    nest.dims[axis] = axis < missing ? 1 : nest.dims[axis - missing];
    for (int t = 0; t < nest.tensors; ++t) {
      nest.strides[t][axis] = axis < missing ? 0 : nest.strides[t][axis - missing];
    }
  }
  nest.rank = static_cast<int>(rank);
  return true;
}

}  // namespace hussar::cuda
