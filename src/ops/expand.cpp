// Expand: the input broadcast against `shape`, in both directions.
#include "ops/arguments.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  auto wanted = HUSSAR_TRY(list_argument(context, 1));
  const Dims* dims = context.dims(0);
  if (!wanted || dims == nullptr) {
    auto rank = wanted ? std::optional<int>(static_cast<int>(wanted->size())) : list_length(context, 1);
    if (rank && dims != nullptr)
      context.set_rank(0, context.dtype(0), std::max(*rank, context.rank(0)));
    else
      context.set_unknown(0, context.dtype(0));
    return {};
  }
  for (const Dim& dim : *wanted) HUSSAR_TRY(check_dimension(context, dim));
  Dims out = HUSSAR_TRY(context.broadcast_dims(*dims, *wanted));
  bool is_list = out.size() == 1 && out[0].is_constant();
  int64_t length = is_list ? out[0].value() : 0;
  context.set(0, context.dtype(0), std::move(out));
  auto elements = context.elements(0);
  if (is_list && elements && elements->size() == 1 && length <= kMaxRank) {
    context.set_elements(0, Dims(static_cast<size_t>(length), elements->front()));
  }
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.output().shape();
  copy_strided(context.input(0), 0, shape, broadcast_strides(context.shape(0), shape), context.output());
  return {};
}

extern const OpDef expand_op = {
    .name = "Expand", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
