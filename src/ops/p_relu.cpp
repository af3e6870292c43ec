// PRelu: x for x >= 0, slope * x below; slope is broadcast to x.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x, auto slope) { return x < 0 ? x * slope : x; };

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_broadcast(context));
  if (context.rank(1) > context.rank(0) && context.rank(0) >= 0) return context.fail("slope has a higher rank than x");
  const Dims* x = context.dims(0);
  for (int axis = 0; context.dims(1) != nullptr && axis < context.rank(0); ++axis) {
    const Dim& dim = (*context.outputs[0].dims)[axis];
    if (dim.is_constant() && (*x)[axis].is_constant() && !(dim == (*x)[axis])) {
      return context.fail("slope [{}] cannot be broadcast to x [{}]", to_string(*context.dims(1)), to_string(*x));
    }
  }
  context.outputs[0].dims = context.info(0).dims;
  return {};
}

extern const OpDef p_relu_op = binary_op("PRelu", infer, evaluate_binary<kCompute>);

}  // namespace hussar
