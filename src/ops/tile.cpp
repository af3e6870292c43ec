// Tile: the tensor repeated repeats[axis] times along every axis.
#include "ops/arguments.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  auto repeats = HUSSAR_TRY(list_argument(context, 1));
  const Dims* dims = context.dims(0);
  if (dims == nullptr || !repeats) {
    if (dims != nullptr)
      context.set_rank(0, context.dtype(0), context.rank(0));
    else
      context.set_unknown(0, context.dtype(0));
    return {};
  }
  if (repeats->size() != dims->size()) return context.fail("{} repeats for rank {}", repeats->size(), dims->size());
  Dims out;
  for (size_t axis = 0; axis < dims->size(); ++axis) {
    HUSSAR_TRY(check_dimension(context, (*repeats)[axis]));
    out.push_back(HUSSAR_TRY(checked_product(context, {(*dims)[axis], (*repeats)[axis]})));
  }
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  Tensor& out = context.output();
  if (out.elements() == 0) return {};
  const ElementStrides strides = row_major_strides(shape);
  std::vector<Ints> maps;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    Ints& map = maps.emplace_back();
    for (int64_t i = 0; i < out.shape()[axis]; ++i) map.push_back(i % shape[axis] * strides[axis]);
  }
  copy_mapped(context.input(0), maps, nullptr, out);
  return {};
}

extern const OpDef tile_op = {.name = "Tile", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
