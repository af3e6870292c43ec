// EyeLike: a matrix of the input's shape with ones on the k-th diagonal and zeros elsewhere.
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  int64_t wanted = context.attributes.get_int("dtype", static_cast<int64_t>(context.dtype(0)));
  auto dtype = wanted > 0 && wanted < 256 ? static_cast<DType>(wanted) : DType::kUndefined;
  if (dtype_size(dtype) == 0) return context.fail("unsupported dtype {}", wanted);
  const Dims* dims = context.dims(0);
  if (dims != nullptr && dims->size() != 2) return context.fail("takes a matrix, not rank {}", dims->size());
  if (dims != nullptr)
    context.set(0, dtype, *dims);
  else
    context.set_rank(0, dtype, 2);
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.output().shape();
  int64_t k = context.attributes.get_int("k", 0);
  auto y = context.write<double>();
  for (int64_t row = 0; row < shape[0]; ++row) {
    for (int64_t column = 0; column < shape[1]; ++column) y[row * shape[1] + column] = column - row == k ? 1 : 0;
  }
  return {};
}

extern const OpDef eye_like_op = {
    .name = "EyeLike", .min_inputs = 1, .max_inputs = 1, .traits = kShapeOnly, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
