// Reshape: the same elements under another shape. In `shape`, -1 stands for what is left over and 0 for the input's
// dimension at that place (unless allowzero=1).
#include "ops/arguments.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static Status solve(InferContext& context, const Dims& wanted) {
  bool copies_zero = context.attributes.get_int("allowzero", 0) == 0;
  const Dims* in = context.dims(0);
  Dims out = wanted;
  std::optional<size_t> hole;
  bool complete = in != nullptr;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i].is(0) && copies_zero) {
      if (in != nullptr && i >= in->size())
        return context.fail("shape element {} is 0 but the input has rank {}", i, in->size());
      out[i] = in != nullptr ? (*in)[i] : context.fresh();
    } else if (out[i].is(-1)) {
      if (hole) return context.fail("the shape has more than one -1");
      hole = i;
      out[i] = Dim(1);
    }
    HUSSAR_TRY(check_dimension(context, out[i]));
  }
  Dim rest = HUSSAR_TRY(checked_product(context, out));
  Dim total = in != nullptr ? HUSSAR_TRY(checked_product(context, *in)) : Dim(0);
  bool constant = complete && rest.is_constant() && total.is_constant();
  bool fits = !constant || (hole ? rest.value() != 0 && total.value() % rest.value() == 0 : rest == total);
  if (!fits) return context.fail("cannot reshape {} to {}", to_string(*in), to_string(wanted));
  if (hole) out[*hole] = complete ? floor_div(total, rest) : context.fresh();
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

static Status infer(InferContext& context) {
  if (auto wanted = HUSSAR_TRY(list_argument(context, 1))) {
    HUSSAR_TRY(solve(context, *wanted));
    infer_view_elements(context);
  } else if (auto rank = list_length(context, 1)) {
    context.set_rank(0, context.dtype(0), *rank);
  } else {
    context.set_unknown(0, context.dtype(0));
  }
  return {};
}

extern const OpDef reshape_op = {
    .name = "Reshape", .min_inputs = 2, .max_inputs = 2, .traits = kView, .infer = infer, .evaluate = evaluate_view};

}  // namespace hussar
