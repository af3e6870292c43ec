// MaxUnpool: puts values back where MaxPool took them from, zeros elsewhere. The indices count in the shape that
// undoing the window gives; with a larger output_shape the rest is padding at the end.
#include "ops/elementwise.h"
#include "ops/window.h"

namespace hussar {

static Result<Dims> natural_dims(const Node& node, const Dims& input) {
  Window window = HUSSAR_TRY(read_window(node));
  HUSSAR_CHECK(std::ssize(input) == window.rank() + 2, ErrorCode::kInvalidModel,
               "{}: kernel_shape has {} axes, the input has rank {}", describe(node), window.rank(), input.size());
  Dims dims(input.begin(), input.begin() + 2);
  for (int axis = 0; axis < window.rank(); ++axis) {
    Dim steps = (input[axis + 2] - Dim(1)) * Dim(window.strides[axis]);
    dims.push_back(steps + Dim(window.kernel[axis] - window.pads_begin[axis] - window.pads_end[axis]));
  }
  return dims;
}

static Status infer(InferContext& context) {
  const Dims* input = context.dims(0);
  auto shape = context.elements(2);
  if (input == nullptr) return context.set_unknown(0, context.dtype(0)), Status();
  if (context.rank(1) >= 0 && context.rank(1) != context.rank(0)) {
    return context.fail("x and the indices have different ranks");
  }
  Dims dims = HUSSAR_TRY(natural_dims(context.node, *input));
  if (!context.has(2)) return context.set(0, context.dtype(0), std::move(dims)), Status();
  if (!shape) return context.set_rank(0, context.dtype(0), static_cast<int>(dims.size())), Status();
  if (shape->size() != dims.size())
    return context.fail("output_shape has {} elements for rank {}", shape->size(), dims.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i].is_constant() && (*shape)[i].is_constant() && (*shape)[i].value() < dims[i].value()) {
      return context.fail("output_shape is smaller than what the window gives: {} < {}", (*shape)[i].value(),
                          dims[i].value());
    }
  }
  context.set(0, context.dtype(0), *shape);
  return {};
}

static Status evaluate(EvalContext& context) {
  if (!context.output().valid()) return context.fail("output_shape is malformed");
  const Shape& input = context.shape(0);
  Dims dims = HUSSAR_TRY(natural_dims(context.node, Dims(input.begin(), input.end())));
  Shape natural;
  for (const Dim& dim : dims) natural.push_back(dim.value());
  auto x = context.read<double>(0);
  auto indices = context.read<int64_t>(1);
  auto y = context.write<double>();
  if (indices.size() != x.size()) return context.fail("x and the indices have different shapes");
  const ElementStrides strides = row_major_strides(context.output().shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t rest = indices[i], at = 0;
    if (rest < 0 || rest >= natural.elements())
      return context.fail("index {} is outside {}", rest, natural.to_string());
    for (int axis = natural.rank() - 1; axis >= 0; --axis) {
      at += rest % natural[axis] * strides[axis];
      rest /= natural[axis];
    }
    y[at] = x[i];
  }
  return {};
}

extern const OpDef max_unpool_op = {
    .name = "MaxUnpool", .min_inputs = 2, .max_inputs = 3, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
