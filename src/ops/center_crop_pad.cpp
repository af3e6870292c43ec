// CenterCropPad: the middle of the tensor cut, or the tensor surrounded by zeros, to have the dimensions `shape` along
// `axes` (all axes when absent). Odd differences leave the extra element at the end.
#include "ops/arguments.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  auto wanted = HUSSAR_TRY(list_argument(context, 1));
  const Dims* dims = context.dims(0);
  if (dims == nullptr) {
    context.set_unknown(0, context.dtype(0));
    return {};
  }
  Ints axes = context.attributes.get_ints("axes");
  if (!context.attributes.has("axes")) {
    for (int axis = 0; axis < context.rank(0); ++axis) axes.push_back(axis);
  }
  axes = HUSSAR_TRY(context.normalize_axes(axes, context.rank(0)));
  if (wanted && wanted->size() != axes.size())
    return context.fail("{} dimensions for {} axes", wanted->size(), axes.size());
  Dims out = *dims;
  for (size_t i = 0; i < axes.size(); ++i) {
    Dim dim = wanted ? (*wanted)[i] : context.fresh();
    HUSSAR_TRY(check_dimension(context, dim));
    out[static_cast<size_t>(axes[i])] = dim;
  }
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  Tensor& out = context.output();
  const ElementStrides strides = row_major_strides(shape);
  std::vector<Ints> maps;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    Ints& map = maps.emplace_back();
    int64_t length = out.shape()[axis];
    int64_t shift = shape[axis] >= length ? (shape[axis] - length) / 2 : -((length - shape[axis]) / 2);
    for (int64_t i = 0; i < length; ++i) {
      bool inside = i + shift >= 0 && i + shift < shape[axis];
      map.push_back(inside ? (i + shift) * strides[axis] : -1);
    }
  }
  copy_mapped(context.input(0), maps, nullptr, out);
  return {};
}

extern const OpDef center_crop_pad_op = {
    .name = "CenterCropPad", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
