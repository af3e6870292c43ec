// Gather: the slices of `data` along `axis` that `indices` name; indices may count from the end.
#include <cstring>

#include "ops/axis.h"
#include "ops/movement.h"

namespace hussar {

// Picks from a list of symbolic integers.
static void infer_list(InferContext& context) {
  auto elements = context.elements(0);
  auto indices = context.integers(1);
  if (!elements || !indices || context.rank(0) != 1 || context.rank(1) > 1) return;
  auto length = static_cast<int64_t>(elements->size());
  Dims picked;
  for (int64_t index : *indices) {
    if (index < -length || index >= length) return;
    picked.push_back((*elements)[static_cast<size_t>(index < 0 ? index + length : index)]);
  }
  context.set_elements(0, std::move(picked));
}

static Status infer(InferContext& context) {
  const Dims* data = context.dims(0);
  const Dims* indices = context.dims(1);
  if (is_floating(context.dtype(1))) return context.fail("indices must be integers");
  if (data != nullptr && data->empty()) return context.fail("nothing can be gathered from a scalar");
  if (data == nullptr || indices == nullptr) {
    context.set_unknown(0, context.dtype(0));
    return {};
  }
  int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", 0), context.rank(0)));
  Dims out(data->begin(), data->begin() + axis);
  out.insert(out.end(), indices->begin(), indices->end());
  out.insert(out.end(), data->begin() + axis + 1, data->end());
  context.set(0, context.dtype(0), std::move(out));
  infer_list(context);
  return {};
}

static Status evaluate(EvalContext& context) {
  const Tensor& data = context.input(0);
  AxisSplit split = split_at(data.shape(), context.attributes.get_int("axis", 0));
  Ints indices = context.integers(1);
  for (int64_t& index : indices) index = HUSSAR_TRY(wrap_index(context, index, split.length));
  size_t unit = static_cast<size_t>(split.inner) * dtype_size(data.dtype());
  if (unit == 0) return {};
  std::byte* to = context.output().raw();
  for (int64_t outer = 0; outer < split.outer; ++outer) {
    for (int64_t index : indices) {
      std::memcpy(to, data.raw() + static_cast<size_t>(outer * split.length + index) * unit, unit);
      to += unit;
    }
  }
  return {};
}

extern const OpDef gather_op = {
    .name = "Gather", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
