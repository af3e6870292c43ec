// Operators that work along one axis.
#pragma once
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

// A tensor seen as [outer][length][inner] around an axis.
struct AxisSplit {
  int64_t outer = 1, length = 1, inner = 1;
};
// axis may be negative; it must be in range (inference has checked it).
AxisSplit split_at(const Shape& shape, int64_t axis);

// Calls visit(first) for every line along the axis: its elements are first + i * inner, i < length.
template <class Visit>
void for_each_line(const AxisSplit& split, Visit&& visit) {
  for (int64_t outer = 0; outer < split.outer; ++outer) {
    for (int64_t inner = 0; inner < split.inner; ++inner) visit(outer * split.length * split.inner + inner);
  }
}

// Same dtype and dims as input 0; checks the attribute `axis` (default -1).
Status infer_along_axis(InferContext& context);

// Softmax, LogSoftmax and Hardmax before opset 13 (default axis 1): the dims from `axis` on are taken as one.
// Rewrites the node as Flatten -> node(axis=-1) -> Reshape to the input's shape.
Status upgrade_flattening_softmax(UpgradeContext& context, int until);

}  // namespace hussar
