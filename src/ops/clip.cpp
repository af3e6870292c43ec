// Clip: x limited to [min, max], two optional scalars; NaN stays NaN. Where min > max the result is max.
#include "ops/elementwise.h"

namespace hussar {

static constexpr AttributeInput kAttributeInputs[] = {{"min", 1, 11}, {"max", 2, 11}};

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  for (size_t i = 1; i <= 2; ++i) {
    const Dims* dims = context.dims(i);
    if (dims == nullptr) continue;
    for (const Dim& dim : *dims) {
      if (dim.is_constant() && dim.value() != 1) return context.fail("input {} must be a scalar", i);
    }
  }
  auto elements = context.elements(0);
  auto low = context.elements(1);
  auto high = context.elements(2);
  bool known =
      elements && (!context.has(1) || (low && low->size() == 1)) && (!context.has(2) || (high && high->size() == 1));
  if (!known) return {};
  for (Dim& element : *elements) {
    if (low) element = max(element, low->front());
    if (high) element = min(element, high->front());
  }
  context.set_elements(0, std::move(*elements));
  return {};
}

static Status evaluate(EvalContext& context) {
  for (size_t i = 1; i <= 2; ++i) {
    if (context.has(i) && context.input(i).elements() != 1) return context.fail("input {} must be a scalar", i);
  }
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    auto y = context.write<T>();
    std::copy(x.begin(), x.end(), y.data());
    if (context.has(1)) {
      T low = context.read<T>(1)[0];
      for (int64_t i = 0; i < y.size(); ++i) y[i] = y[i] < low ? low : y[i];
    }
    if (context.has(2)) {
      T high = context.read<T>(2)[0];
      for (int64_t i = 0; i < y.size(); ++i) y[i] = y[i] > high ? high : y[i];
    }
    return {};
  });
}

extern const OpDef clip_op = {.name = "Clip",
                              .min_inputs = 1,
                              .max_inputs = 3,
                              .traits = kElementwise | kChannelsLastOk,
                              .attribute_inputs = kAttributeInputs,
                              .infer = infer,
                              .evaluate = evaluate};

}  // namespace hussar
