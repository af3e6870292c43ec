// Squeeze: without the dimensions `axes`, which must be 1; without all dimensions that are 1 when axes is absent.
#include "ops/arguments.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static constexpr AttributeInput kAttributeInputs[] = {{"axes", 1, 13}};

// The axes that go; nullopt when unknown.
static Result<std::optional<Ints>> dropped_axes(const InferContext& context, const Dims& dims) {
  if (context.has(1)) return axes_argument(context, 1, static_cast<int>(dims.size()));
  Ints axes;
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    if (!dims[axis].is_constant()) return std::optional<Ints>();
    if (dims[axis].is(1)) axes.push_back(static_cast<int64_t>(axis));
  }
  return std::optional<Ints>(std::move(axes));
}

static Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  context.set_unknown(0, context.dtype(0));
  if (dims == nullptr) return {};
  auto axes = HUSSAR_TRY(dropped_axes(context, *dims));
  if (!axes) return {};
  Dims out;
  for (size_t axis = 0; axis < dims->size(); ++axis) {
    const Dim& dim = (*dims)[axis];
    if (std::find(axes->begin(), axes->end(), static_cast<int64_t>(axis)) == axes->end())
      out.push_back(dim);
    else if (dim.is_constant() && !dim.is(1))
      return context.fail("dimension {} is {}, not 1", axis, dim.value());
  }
  context.set(0, context.dtype(0), std::move(out));
  infer_view_elements(context);
  return {};
}

extern const OpDef squeeze_op = {.name = "Squeeze",
                                 .min_inputs = 1,
                                 .max_inputs = 2,
                                 .traits = kView,
                                 .attribute_inputs = kAttributeInputs,
                                 .infer = infer,
                                 .evaluate = evaluate_view};

}  // namespace hussar
