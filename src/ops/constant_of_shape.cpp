// ConstantOfShape: a tensor of the dimensions in the input, filled with the one element of the attribute `value`
// (float32 zero when absent).
#include "ops/arguments.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  const Tensor* value = context.attributes.get_tensor("value");
  if (value != nullptr && value->elements() != 1) return context.fail("value must have one element");
  DType dtype = value != nullptr ? value->dtype() : DType::kFloat32;
  auto dims = HUSSAR_TRY(list_argument(context, 0));
  if (!dims) {
    if (auto rank = list_length(context, 0))
      context.set_rank(0, dtype, *rank);
    else
      context.set_unknown(0, dtype);
    return {};
  }
  for (const Dim& dim : *dims) HUSSAR_TRY(check_dimension(context, dim));
  bool is_short_list = dims->size() == 1 && dims->front().is_constant() && dims->front().value() <= kMaxRank;
  if (is_short_list && is_signed_integer(dtype)) {
    int64_t element = 0;
    load_elements<int64_t>(*value, 0, 1, &element);
    context.set_elements(0, Dims(static_cast<size_t>(dims->front().value()), Dim(element)));
  }
  context.set(0, dtype, std::move(*dims));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Tensor* value = context.attributes.get_tensor("value");
  Tensor& out = context.output();
  return dispatch_width(out.dtype(), [&](auto tag) -> Status {
    using Word = typename decltype(tag)::type;
    Word* words = out.data<Word>();
    std::fill(words, words + out.elements(), value != nullptr ? *value->data<Word>() : Word(0));
    return {};
  });
}

extern const OpDef constant_of_shape_op = {
    .name = "ConstantOfShape", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
