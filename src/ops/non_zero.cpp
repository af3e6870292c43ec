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
  const int64_t count = std::count_if(x.begin(), x.end(), [](double value) { return value != 0; });
  auto* out = context.allocate(0, DType::kInt64, {shape.rank(), count}).data<int64_t>();
  const ElementStrides strides = row_major_strides(shape);
  for (int64_t i = 0, found = 0; i < x.size(); ++i) {
    if (x[i] == 0) continue;
    for (int axis = 0; axis < shape.rank(); ++axis) out[axis * count + found] = i / strides[axis] % shape[axis];
    ++found;
  }
  return {};
}

extern const OpDef non_zero_op = {
    .name = "NonZero", .min_inputs = 1, .max_inputs = 1, .traits = kSizesOutputs, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
