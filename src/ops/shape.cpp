// Shape: the dimensions [start, end) of a tensor as an int64 list.
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

// The part of the dimensions that the attributes select, as [first, last) with first <= last.
static std::pair<int64_t, int64_t> selected(const Attributes& attributes, int64_t rank) {
  auto clamp = [rank](int64_t axis) { return std::clamp<int64_t>(axis < 0 ? axis + rank : axis, 0, rank); };
  int64_t first = clamp(attributes.get_int("start", 0));
  int64_t last = clamp(attributes.get_int("end", rank));
  return {first, std::max(first, last)};
}

static Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  if (dims == nullptr) {
    context.set_rank(0, DType::kInt64, 1);
    return {};
  }
  auto [first, last] = selected(context.attributes, static_cast<int64_t>(dims->size()));
  context.set(0, DType::kInt64, {Dim(last - first)});
  context.set_elements(0, Dims(dims->begin() + first, dims->begin() + last));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  auto [first, last] = selected(context.attributes, shape.rank());
  std::copy(shape.begin() + first, shape.begin() + last, context.output().data<int64_t>());
  return {};
}

extern const OpDef shape_op = {
    .name = "Shape", .min_inputs = 1, .max_inputs = 1, .traits = kShapeOnly, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
