// Where: condition ? x : y with broadcasting. Follows symbolic elements where the condition is known.
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  if (context.dtype(1) != context.dtype(2)) {
    return context.fail("x is {} but y is {}", dtype_name(context.dtype(1)), dtype_name(context.dtype(2)));
  }
  if (context.dtype(0) != DType::kBool) return context.fail("the condition must be bool");
  auto dims = HUSSAR_TRY(context.broadcast({0, 1, 2}));
  if (!dims) {
    context.set_unknown(0, context.dtype(1));
    return {};
  }
  bool is_list = dims->size() <= 1;
  context.set(0, context.dtype(1), std::move(*dims));
  auto condition = context.integers(0);
  auto x = context.elements(1);
  auto y = context.elements(2);
  if (!is_list || !condition) return {};
  Dims result(std::max({condition->size(), x ? x->size() : 1, y ? y->size() : 1}));
  auto fits = [&](size_t size) { return size == 1 || size == result.size(); };
  if (!fits(condition->size()) || (x && !fits(x->size())) || (y && !fits(y->size()))) return {};
  for (size_t i = 0; i < result.size(); ++i) {
    const auto& chosen = (*condition)[condition->size() == 1 ? 0 : i] != 0 ? x : y;
    if (!chosen) return {};
    result[i] = (*chosen)[chosen->size() == 1 ? 0 : i];
  }
  context.set_elements(0, std::move(result));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.output().shape();
  ElementStrides strides[3];
  for (size_t i = 0; i < 3; ++i) strides[i] = broadcast_strides(context.shape(i), shape);
  const auto* condition = context.input(0).data<uint8_t>();
  return dispatch_width(context.output().dtype(), [&](auto tag) -> Status {
    using Word = typename decltype(tag)::type;
    const Word* x = context.input(1).data<Word>();
    const Word* y = context.input(2).data<Word>();
    Word* out = context.output().data<Word>();
    for_each_index(shape, strides, [&](int64_t i, const int64_t* offset) {
      out[i] = condition[offset[0]] != 0 ? x[offset[1]] : y[offset[2]];
    });
    return {};
  });
}

extern const OpDef where_op = {.name = "Where",
                               .min_inputs = 3,
                               .max_inputs = 3,
                               .traits = kElementwise | kChannelsLastOk,
                               .infer = infer,
                               .evaluate = evaluate};

}  // namespace hussar
