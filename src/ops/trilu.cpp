// Trilu: the upper (lower with upper=0) triangle of every matrix, counted from its k-th diagonal, and zeros elsewhere.
#include "ops/elementwise.h"
#include "ops/movement.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  if (context.rank(0) >= 0 && context.rank(0) < 2) return context.fail("takes matrices, not rank {}", context.rank(0));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  int64_t rows = shape[shape.rank() - 2];
  int64_t columns = shape[shape.rank() - 1];
  bool upper = context.attributes.get_int("upper", 1) != 0;
  Ints diagonal = context.integers(1);
  if (diagonal.size() > 1) return context.fail("k must be one number");
  int64_t k = diagonal.empty() ? 0 : diagonal[0];
  return dispatch_width(context.input(0).dtype(), [&](auto tag) -> Status {
    using Word = typename decltype(tag)::type;
    const Word* x = context.input(0).data<Word>();
    Word* y = context.output().data<Word>();
    for (int64_t i = 0; i < context.input(0).elements(); ++i) {
      int64_t offset = i % columns - i / columns % rows;
      bool kept = upper ? offset >= k : offset <= k;
      y[i] = kept ? x[i] : Word(0);
    }
    return {};
  });
}

extern const OpDef trilu_op = {.name = "Trilu", .min_inputs = 1, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
