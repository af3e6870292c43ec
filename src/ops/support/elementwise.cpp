// Inference shared by elementwise operators.
#include "ops/elementwise.h"

#include <numeric>

namespace hussar {
namespace {

Status infer_broadcast_as(InferContext& context, DType dtype) {
  std::vector<size_t> operands(context.input_count());
  std::iota(operands.begin(), operands.end(), 0);
  auto dims = HUSSAR_TRY(context.broadcast(operands));
  if (dims)
    context.set(0, dtype, std::move(*dims));
  else
    context.set_unknown(0, dtype);
  return {};
}

}  // namespace

Status infer_broadcast(InferContext& context) {
  for (size_t i = 0; i < context.input_count(); ++i) {
    if (context.node.input(i) == nullptr) return context.fail("input {} is missing", i);
  }
  for (size_t i = 1; i < context.input_count(); ++i) {
    if (context.dtype(i) != context.dtype(0)) {
      return context.fail("inputs have different dtypes {} and {}", dtype_name(context.dtype(0)),
                          dtype_name(context.dtype(i)));
    }
  }
  return infer_broadcast_as(context, context.dtype(0));
}

void infer_elements(InferContext& context, const ElementFunction& compute) {
  if (!is_signed_integer(context.dtype(0)) || context.rank(0) > 1 || context.rank(1) > 1) return;
  auto a = context.elements(0);
  auto b = context.elements(1);
  if (!a || !b || (a->size() != b->size() && a->size() != 1 && b->size() != 1)) return;
  Dims result(a->size() == 1 ? b->size() : a->size());
  for (size_t i = 0; i < result.size(); ++i) {
    auto element = compute((*a)[a->size() == 1 ? 0 : i], (*b)[b->size() == 1 ? 0 : i]);
    if (!element) return;
    result[i] = std::move(*element);
  }
  context.set_elements(0, std::move(result));
}

std::optional<Dim> known_order(const Dim& a, const Dim& b, int64_t gap) {
  if (known_at_least(b - a, gap)) return Dim(1);
  if (known_at_least(a - b, 1 - gap)) return Dim(0);
  return std::nullopt;
}

Status infer_broadcast_bool(InferContext& context) { return infer_broadcast_as(context, DType::kBool); }

}  // namespace hussar
