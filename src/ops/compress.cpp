// Compress: the slices along `axis` (the elements of the flattened input when absent) where `condition` is true.
#include <cstring>

#include "ops/axis.h"
#include "ops/evaluate.h"

namespace hussar {

static Status infer(InferContext& context) {
  if (context.dtype(1) != DType::kBool) return context.fail("the condition must be bool");
  if (context.rank(1) >= 0 && context.rank(1) != 1) return context.fail("the condition must be a list");
  if (!context.attributes.has("axis")) {
    context.set_rank(0, context.dtype(0), 1);
    return {};
  }
  const Dims* dims = context.dims(0);
  context.set_unknown(0, context.dtype(0));
  if (dims == nullptr) return {};
  if (dims->empty()) return context.fail("a scalar has no axis");
  int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", 0), context.rank(0)));
  Dims out = *dims;
  out[static_cast<size_t>(axis)] = context.fresh();
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Tensor& in = context.input(0);
  bool flat = !context.attributes.has("axis");
  AxisSplit split{1, in.elements(), 1};
  Shape shape{0};
  int axis = 0;
  if (!flat) {
    int64_t given = context.attributes.get_int("axis", 0);
    split = split_at(in.shape(), given);
    shape = in.shape();
    axis = static_cast<int>(given < 0 ? given + shape.rank() : given);
  }
  shape[axis] = 0;
  const auto* condition = context.input(1).data<uint8_t>();
  const int64_t conditions = context.input(1).elements();
  for (int64_t i = 0; i < conditions; ++i) {
    if (condition[i] == 0) continue;
    if (i >= split.length)
      return context.fail("the condition is true at {}, the axis has {} elements", i, split.length);
    ++shape[axis];
  }
  std::byte* to = context.allocate(0, in.dtype(), shape).raw();
  size_t unit = static_cast<size_t>(split.inner) * dtype_size(in.dtype());
  for (int64_t outer = 0; outer < split.outer && unit > 0; ++outer) {
    for (int64_t index = 0; index < conditions; ++index) {
      if (condition[index] == 0) continue;
      std::memcpy(to, in.raw() + static_cast<size_t>(outer * split.length + index) * unit, unit);
      to += unit;
    }
  }
  return {};
}

extern const OpDef compress_op = {.name = "Compress",
                                  .min_inputs = 2,
                                  .max_inputs = 2,
                                  .traits = kSizesOutputs,
                                  .infer = infer,
                                  .evaluate = evaluate};

}  // namespace hussar
