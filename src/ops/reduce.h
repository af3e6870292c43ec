// Reductions over axes: inputs `data` and optional `axes`, attributes keepdims (1) and noop_with_empty_axes (0).
#pragma once
#include <span>

#include "ops/arguments.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"

namespace hussar {

// Sets the output's dims; its dtype is that of the data.
Status infer_reduce(InferContext& context);
// The same, following a list of symbolic integers that is reduced as a whole.
Status infer_reduce_elements(InferContext& context, Dim (*combine)(const Dim&, const Dim&));

// The data seen as output elements times `count` elements each: the kept axes outside, the reduced ones inside.
struct Reduction {
  Shape shape;             // of the data with the reduced axes last
  ElementStrides strides;  // of the data in that order
  int64_t count = 1;       // elements that are reduced into one
};
Reduction reduction_of(const EvalContext& context);

// out = Compute(std::span<const T>) of the elements to be reduced, called once per output element.
template <class T, class Compute>
void map_reduction(EvalContext& context, Compute&& compute) {
  Reduction reduction = reduction_of(context);
  auto x = context.read<T>(0);
  auto y = context.write<T>();
  Scratch<T> buffer(context.workspace(), reduction.count);
  const std::span<const T> values(buffer.data(), static_cast<size_t>(reduction.count));
  if (reduction.count == 0) {
    for (int64_t i = 0; i < y.size(); ++i) y[i] = compute(values);
    return;
  }
  for_each_index(reduction.shape, {reduction.strides}, [&](int64_t i, const int64_t* offset) {
    int64_t at = i % reduction.count;
    buffer[at] = x[offset[0]];
    if (at + 1 == reduction.count) y[i / reduction.count] = compute(values);
  });
}

// With noop_with_empty_axes and no axes every element is reduced alone: ReduceL1 then gives |x|, ReduceSum x.
template <auto Compute>
Status evaluate_reduce(EvalContext& context) {
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    map_reduction<T>(context, [](std::span<const T> values) { return static_cast<T>(Compute(values)); });
    return {};
  });
}

// The sum of Map(value), accumulated wider than T.
template <class T, class Map>
Accumulator<T> sum_of(std::span<const T> values, Map&& map) {
  Accumulator<T> sum = 0;
  for (T value : values) sum += map(static_cast<Accumulator<T>>(value));
  return sum;
}

// The smallest and the largest value of a dtype: what an empty maximum or minimum is. Infinite for floating types.
template <class T>
T lowest_value(DType dtype) {
  if constexpr (std::is_floating_point_v<T>)
    return -std::numeric_limits<T>::infinity();
  else if constexpr (std::is_unsigned_v<T>)
    return 0;
  else
    return std::numeric_limits<T>::min() >> (64 - 8 * dtype_size(dtype));
}
template <class T>
T highest_value(DType dtype) {
  if constexpr (std::is_floating_point_v<T>)
    return std::numeric_limits<T>::infinity();
  else
    return std::numeric_limits<T>::max() >> (64 - 8 * dtype_size(dtype));
}

inline constexpr AttributeInput kReduceAxesUntil13[] = {{"axes", 1, 13}};
inline constexpr AttributeInput kReduceAxesUntil18[] = {{"axes", 1, 18}};

constexpr OpDef reduce_op(std::string_view name, Status (*evaluate)(EvalContext&)) {
  OpDef op;
  op.name = name;
  op.min_inputs = 1;
  op.max_inputs = 2;
  op.attribute_inputs = kReduceAxesUntil18;
  op.infer = infer_reduce;
  op.evaluate = evaluate;
  return op;
}

}  // namespace hussar
