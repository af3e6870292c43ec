// GatherND: `indices` is a tensor of index tuples into `data`, after `batch_dims` dimensions that both share; the
// output has the slice of data that each tuple names.
#include <cstring>

#include "ops/arguments.h"
#include "ops/op_def.h"
#include "ops/scatter.h"

namespace hussar {

static Status infer(InferContext& context) {
  const Dims* data = context.dims(0);
  const Dims* indices = context.dims(1);
  context.set_unknown(0, context.dtype(0));
  if (data == nullptr || indices == nullptr) return {};
  int64_t batch = context.attributes.get_int("batch_dims", 0);
  auto shorter = static_cast<int64_t>(std::min(data->size(), indices->size()));
  if (batch < 0 || batch >= shorter) return context.fail("batch_dims {} is out of range", batch);
  const Dim& tuple = indices->back();
  if (!tuple.is_constant()) return {};
  if (tuple.value() < 0 || tuple.value() > static_cast<int64_t>(data->size()) - batch) {
    return context.fail("index tuples of {} do not fit the data of rank {}", tuple.value(), data->size());
  }
  Dims out(indices->begin(), indices->end() - 1);
  for (int64_t axis = 0; axis < batch; ++axis) {
    auto at = static_cast<size_t>(axis);
    out[at] = HUSSAR_TRY(same_dim(context, (*indices)[at], (*data)[at]));
  }
  out.insert(out.end(), data->begin() + batch + tuple.value(), data->end());
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

static Status evaluate(EvalContext& context) {
  auto batch = static_cast<int>(context.attributes.get_int("batch_dims", 0));
  TupleOffsets tuples = HUSSAR_TRY(tuple_offsets(context, 0, 1, batch));
  size_t unit = static_cast<size_t>(tuples.block) * dtype_size(context.input(0).dtype());
  if (unit == 0) return {};
  std::byte* to = context.output().raw();
  for (int64_t offset : tuples.offsets) {
    std::memcpy(to, context.input(0).raw() + static_cast<size_t>(offset) * dtype_size(context.input(0).dtype()), unit);
    to += unit;
  }
  return {};
}

extern const OpDef gather_nd_op = {
    .name = "GatherND", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
