// OneHot: a new dimension of size `depth` at `axis` with values[1] at the index and values[0] elsewhere. Indices in
// [-depth, 0) count from the end; others select nothing.
#include "ops/arguments.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  const Tensor* depth = context.constant(1);
  if (context.constant(2) != nullptr && context.constant(2)->elements() != 2) return context.fail("takes two values");
  if (dims == nullptr) {
    context.set_unknown(0, context.dtype(2));
    return {};
  }
  auto rank = static_cast<int>(dims->size()) + 1;
  int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", -1), rank));
  Dim length = context.fresh();
  if (depth != nullptr) {
    if (depth->elements() != 1) return context.fail("depth must be a scalar");
    int64_t value = 0;
    load_elements<int64_t>(*depth, 0, 1, &value);
    length = Dim(value);
    HUSSAR_TRY(check_dimension(context, length));
  } else if (auto elements = context.elements(1); elements && elements->size() == 1) {
    length = elements->front();
  }
  Dims out = *dims;
  out.insert(out.begin() + axis, length);
  context.set(0, context.dtype(2), std::move(out));
  return {};
}

static Status evaluate(EvalContext& context) {
  Tensor& out = context.output();
  int64_t given = context.attributes.get_int("axis", -1);
  auto axis = static_cast<int>(given < 0 ? given + out.shape().rank() : given);
  int64_t depth = out.shape()[axis];
  int64_t inner = out.shape().elements(axis + 1, out.shape().rank());
  Ints indices = context.integers(0);
  return dispatch_width(out.dtype(), [&](auto tag) -> Status {
    using Word = typename decltype(tag)::type;
    const Word* values = context.input(2).data<Word>();
    Word* words = out.data<Word>();
    std::fill(words, words + out.elements(), values[0]);
    for (size_t i = 0; i < indices.size(); ++i) {
      int64_t index = indices[i] < 0 ? indices[i] + depth : indices[i];
      if (index < 0 || index >= depth) continue;
      auto position = static_cast<int64_t>(i);
      words[(position / inner * depth + index) * inner + position % inner] = values[1];
    }
    return {};
  });
}

extern const OpDef one_hot_op = {
    .name = "OneHot", .min_inputs = 3, .max_inputs = 3, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
