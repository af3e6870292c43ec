// hussar.GatherRows(x, index): the rows of x in another order, in the shape of x. The first dimensions of x, as many as
// there are elements of index (int32), count its rows; where an element is no row of x, the row is zeros.
//
//   y[t] = x[index[t]]
#include <cstring>

#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  if (context.dtype(1) != DType::kInt32) return context.fail("takes an index of int32");
  const Dims* x = context.dims(0);
  const Dims* index = context.dims(1);
  if (index != nullptr && index->size() != 1) return context.fail("an index of shape {}", to_string(*index));
  if (x == nullptr) {
    context.set_unknown(0, context.dtype(0));
    return {};
  }
  if (dtype_size(context.dtype(0)) == 0) return context.fail("rows of {}", dtype_name(context.dtype(0)));
  bool fits = false, are_numbers = index != nullptr && (*index)[0].is_constant();
  Dim rows(1);
  for (const Dim& dim : *x) {
    are_numbers = are_numbers && dim.is_constant();
    rows = rows * dim;
    fits = fits || (index != nullptr && rows == (*index)[0]);
  }
  if (!fits && are_numbers) return context.fail("{} has no {} rows", to_string(*x), to_string(*index));
  context.set(0, context.dtype(0), *x);
  return {};
}

static Status evaluate(EvalContext& context) {
  const Tensor& x = context.input(0);
  Tensor& y = context.output();
  const int64_t rows = context.shape(1).elements();
  if (rows == 0 || x.elements() == 0) return {};
  if (x.elements() % rows != 0) return context.fail("{} has no {} rows", x.shape().to_string(), rows);
  const size_t bytes = x.bytes() / static_cast<size_t>(rows);
  const auto* index = context.input(1).data<int32_t>();
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t from = index[row];
    std::byte* to = y.raw() + static_cast<size_t>(row) * bytes;
    if (from < 0 || from >= rows)
      std::memset(to, 0, bytes);
    else
      std::memcpy(to, x.raw() + static_cast<size_t>(from) * bytes, bytes);
  }
  return {};
}

extern const OpDef hussar_gather_rows_op = {
    .name = "hussar.GatherRows", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
