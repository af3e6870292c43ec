// ScatterND: a copy of `data` where the slices that the index tuples in `indices` name are replaced by, or combined
// with, those of `updates`.
#include "ops/arguments.h"
#include "ops/elementwise.h"
#include "ops/scatter.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  HUSSAR_TRY(check_reduction(context));
  if (context.dtype(2) != context.dtype(0)) return context.fail("data and updates have different dtypes");
  if (is_floating(context.dtype(1))) return context.fail("indices must be integers");
  const Dims* data = context.dims(0);
  const Dims* indices = context.dims(1);
  const Dims* updates = context.dims(2);
  if (data == nullptr || indices == nullptr) return {};
  if (indices->empty()) return context.fail("indices must not be a scalar");
  const Dim& tuple = indices->back();
  if (!tuple.is_constant()) return {};
  if (tuple.value() < 0 || tuple.value() > static_cast<int64_t>(data->size())) {
    return context.fail("index tuples of {} do not fit the data of rank {}", tuple.value(), data->size());
  }
  Dims wanted(indices->begin(), indices->end() - 1);
  wanted.insert(wanted.end(), data->begin() + tuple.value(), data->end());
  if (updates == nullptr) return {};
  if (updates->size() != wanted.size()) return context.fail("updates should have rank {}", wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) HUSSAR_TRY(same_dim(context, (*updates)[i], wanted[i]));
  return {};
}

static Status evaluate(EvalContext& context) {
  TupleOffsets tuples = HUSSAR_TRY(tuple_offsets(context, 0, 1, 0));
  return scatter_updates(context, tuples.offsets, tuples.block);
}

extern const OpDef scatter_nd_op = {
    .name = "ScatterND", .min_inputs = 3, .max_inputs = 3, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
