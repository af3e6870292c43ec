// Shapes of ArgMax and ArgMin.
#include "ops/arg_reduce.h"

namespace hussar {

Status infer_arg_reduce(InferContext& context) {
  const Dims* dims = context.dims(0);
  bool keep = context.attributes.get_int("keepdims", 1) != 0;
  if (dims == nullptr) {
    context.set_unknown(0, DType::kInt64);
    return {};
  }
  int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", 0), context.rank(0)));
  Dims out = *dims;
  if (!out.empty()) {
    if (keep)
      out[static_cast<size_t>(axis)] = Dim(1);
    else
      out.erase(out.begin() + axis);
  }
  context.set(0, DType::kInt64, std::move(out));
  return {};
}

}  // namespace hussar
