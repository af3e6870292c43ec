// Size: the number of elements of a tensor as an int64 scalar.
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  context.set(0, DType::kInt64, {});
  if (const Dims* dims = context.dims(0)) context.set_elements(0, {product(*dims)});
  return {};
}

static Status evaluate(EvalContext& context) {
  *context.output().data<int64_t>() = context.input(0).elements();
  return {};
}

extern const OpDef size_op = {
    .name = "Size", .min_inputs = 1, .max_inputs = 1, .traits = kShapeOnly, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
