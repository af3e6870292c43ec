// Range: start, start + delta, ... up to but without limit.
#include "ops/arguments.h"
#include "ops/arithmetic.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

constexpr int64_t kMaxListed = 256;  // elements that are worth following as expressions

// How many numbers [start, limit) takes in steps of delta; nullopt when it has no answer.
template <class T>
std::optional<int64_t> count(T start, T limit, T delta) {
  if constexpr (std::is_floating_point_v<T>) {
    double steps = std::ceil((static_cast<double>(limit) - static_cast<double>(start)) / static_cast<double>(delta));
    if (!(steps < 0x1p40)) return std::nullopt;
    return steps > 0 ? static_cast<int64_t>(steps) : 0;
  } else {
    if (delta == 0) return std::nullopt;
    __int128 distance = static_cast<__int128>(limit) - static_cast<__int128>(start);
    __int128 step = static_cast<__int128>(delta);
    __int128 steps = distance == 0 || (distance < 0) != (step < 0) ? 0 : (distance + step - (step > 0 ? 1 : -1)) / step;
    if (steps >= (int64_t{1} << 40)) return std::nullopt;
    return static_cast<int64_t>(steps);
  }
}

// The length for constant arguments.
Result<Dim> constant_length(const InferContext& context) {
  return dispatch(context.dtype(0), [&](auto tag) -> Result<Dim> {
    using T = typename decltype(tag)::type;
    T values[3];
    for (size_t i = 0; i < 3; ++i) load_elements<T>(*context.constant(i), 0, 1, &values[i]);
    auto length = count(values[0], values[1], values[2]);
    if (!length) return context.fail("the range has no end");
    return Dim(*length);
  });
}

Status infer(InferContext& context) {
  bool constant = true;
  for (size_t i = 0; i < 3; ++i) {
    if (context.dtype(i) != context.dtype(0)) return context.fail("start, limit and delta have different dtypes");
    const Tensor* tensor = context.constant(i);
    constant = constant && tensor != nullptr;
    if (tensor != nullptr && tensor->elements() != 1) return context.fail("start, limit and delta must be scalars");
  }
  auto start = context.elements(0);
  auto limit = context.elements(1);
  auto delta = context.elements(2);
  bool symbolic = start && limit && delta && start->size() == 1 && limit->size() == 1 && delta->size() == 1;
  Dim length;
  if (constant) {
    length = HUSSAR_TRY(constant_length(context));
  } else if (symbolic && delta->front().is_constant() && delta->front().value() != 0) {
    int64_t step = delta->front().value();
    Dim distance = step > 0 ? limit->front() - start->front() : start->front() - limit->front();
    length = max(Dim(0), ceil_div(distance, Dim(step > 0 ? step : wrapping_subtract<int64_t>(0, step))));
  } else {
    length = context.fresh();
  }
  context.set(0, context.dtype(0), {length});
  if (symbolic && length.is_constant() && length.value() <= kMaxListed) {
    Dims elements;
    for (int64_t i = 0; i < length.value(); ++i) elements.push_back(start->front() + Dim(i) * delta->front());
    context.set_elements(0, std::move(elements));
  }
  return {};
}

Status evaluate(EvalContext& context) {
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    T start = context.read<T>(0)[0];
    T delta = context.read<T>(2)[0];
    auto y = context.write<T>();
    for (int64_t i = 0; i < y.size(); ++i) y[i] = wrapping_add(start, wrapping_multiply(static_cast<T>(i), delta));
    return {};
  });
}

}  // namespace

extern const OpDef range_op = {.name = "Range", .min_inputs = 3, .max_inputs = 3, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
