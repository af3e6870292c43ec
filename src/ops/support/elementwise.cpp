// Inference shared by elementwise operators.
#include "ops/elementwise.h"

#include <numeric>

namespace hussar {
namespace {

Status infer_broadcast_as(InferContext& context, DType dtype) {
  std::vector<size_t> operands(context.input_count());
  std::iota(operands.begin(), operands.end(), 0);
  auto dims = HUSSAR_TRY(context.broadcast(operands));
  if (dims) context.set(0, dtype, std::move(*dims));
  else context.set_unknown(0, dtype);
  return {};
}

}  // namespace

Status infer_broadcast(InferContext& context) {
  for (size_t i = 1; i < context.input_count(); ++i) {
    if (context.dtype(i) != context.dtype(0)) {
      return context.fail("inputs have different dtypes {} and {}", dtype_name(context.dtype(0)),
                          dtype_name(context.dtype(i)));
    }
  }
  return infer_broadcast_as(context, context.dtype(0));
}

void infer_elements(InferContext& context, Dim (*compute)(const Dim&, const Dim&)) {
  if (!is_signed_integer(context.dtype(0)) || context.rank(0) > 1 || context.rank(1) > 1) return;
  auto a = context.elements(0);
  auto b = context.elements(1);
  if (!a || !b || (a->size() != b->size() && a->size() != 1 && b->size() != 1)) return;
  Dims result(a->size() == 1 ? b->size() : a->size());
  for (size_t i = 0; i < result.size(); ++i) {
    result[i] = compute((*a)[a->size() == 1 ? 0 : i], (*b)[b->size() == 1 ? 0 : i]);
  }
  context.set_elements(0, std::move(result));
}

Status infer_broadcast_bool(InferContext& context) { return infer_broadcast_as(context, DType::kBool); }

}  // namespace hussar
