// NonZero: the indices of all elements that are not zero, as int64 [rank, count] in row-major order.
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  Dim rank = context.rank(0) >= 0 ? Dim(context.rank(0)) : context.fresh();
  context.set(0, DType::kInt64, {rank, context.fresh()});
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  auto x = context.read<double>(0);
  std::vector<int64_t> found;
  for (int64_t i = 0; i < x.size(); ++i) {
    if (x[i] != 0) found.push_back(i);
  }
  auto count = static_cast<int64_t>(found.size());
  auto* out = context.allocate(0, DType::kInt64, {shape.rank(), count}).data<int64_t>();
  Ints strides = row_major_strides(shape);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    for (int64_t i = 0; i < count; ++i)
      out[axis * count + i] = found[static_cast<size_t>(i)] / strides[axis] % shape[axis];
  }
  return {};
}

extern const OpDef non_zero_op = {
    .name = "NonZero", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
