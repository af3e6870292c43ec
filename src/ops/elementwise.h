// Building blocks for elementwise operators: inference and evaluation from one lambda.
//
//   constexpr auto kCompute = [](auto x) { return std::abs(x); };
//   extern const OpDef abs_op = unary_op("Abs", infer_same<0>, evaluate_unary<kCompute>);
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

// Output 0 has the dtype and dims of input `Input`.
template <int Input = 0>
Status infer_same(InferContext& context) {
  context.outputs[0].dtype = context.dtype(Input);
  context.outputs[0].dims = context.info(Input).dims;
  return {};
}

// Output 0 is the broadcast of all inputs with the dtype of input 0.
Status infer_broadcast(InferContext& context);
// The same with dtype bool.
Status infer_broadcast_bool(InferContext& context);

// Follows the elements of 0-D and 1-D integer operands symbolically through a binary operator. compute gives nullopt
// where the result is not an expression.
using ElementFunction = std::function<std::optional<Dim>(const Dim&, const Dim&)>;
void infer_elements(InferContext& context, const ElementFunction& compute);
// Whether a + gap <= b, as 0 or 1; nullopt when the expressions do not tell. Requires gap 0 or 1.
std::optional<Dim> known_order(const Dim& a, const Dim& b, int64_t gap);

// out = Compute(x), computed in the compute type of the input.
template <auto Compute>
Status evaluate_unary(EvalContext& context) {
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    auto y = context.write<T>();
    for (int64_t i = 0; i < x.size(); ++i) y[i] = static_cast<T>(Compute(x[i]));
    return {};
  });
}

// As evaluate_unary, for operators that only floating types have.
template <auto Compute>
Status evaluate_unary_floating(EvalContext& context) {
  return dispatch_floating(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    auto y = context.write<T>();
    for (int64_t i = 0; i < x.size(); ++i) y[i] = static_cast<T>(Compute(x[i]));
    return {};
  });
}

// out = Compute(x, attributes) for floating types: `Compute` is called as Compute(T x, const Attributes&).
template <auto Compute>
Status evaluate_unary_with_attributes(EvalContext& context) {
  return dispatch_floating(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    auto y = context.write<T>();
    auto compute = Compute(context.attributes);
    for (int64_t i = 0; i < x.size(); ++i) y[i] = static_cast<T>(compute(x[i]));
    return {};
  });
}

// out = compute(a, b) with broadcasting; the inputs are read as T, the output is written as R.
template <class T, class R, class Compute>
void map_binary(EvalContext& context, Compute&& compute) {
  auto a = context.read<T>(0);
  auto b = context.read<T>(1);
  auto y = context.write<R>();
  const Shape& shape = context.output().shape();
  if (context.shape(0) == shape && context.shape(1) == shape) {
    for (int64_t i = 0; i < y.size(); ++i) y[i] = static_cast<R>(compute(a[i], b[i]));
    return;
  }
  for_each_index(shape, {broadcast_strides(context.shape(0), shape), broadcast_strides(context.shape(1), shape)},
                 [&](int64_t i, const int64_t* offset) { y[i] = static_cast<R>(compute(a[offset[0]], b[offset[1]])); });
}

// out = Compute(a, b) with broadcasting; Out is the compute type of the output (void: that of the inputs).
template <auto Compute, class Out = void>
Status evaluate_binary(EvalContext& context) {
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    map_binary<T, std::conditional_t<std::is_void_v<Out>, T, Out>>(context, Compute);
    return {};
  });
}

// Comparisons and logic: the output is bool.
template <auto Compute>
Status evaluate_predicate(EvalContext& context) {
  return evaluate_binary<Compute, uint64_t>(context);
}

// out = Compute(...Compute(Compute(x0, x1), x2)...) with broadcasting.
template <auto Compute>
Status evaluate_variadic(EvalContext& context) {
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto y = context.write<T>();
    const Shape& shape = context.output().shape();
    for (size_t k = 0; k < context.input_count(); ++k) {
      auto x = context.read<T>(k);
      for_each_index(shape, {broadcast_strides(context.shape(k), shape)}, [&](int64_t i, const int64_t* offset) {
        y[i] = k == 0 ? x[offset[0]] : static_cast<T>(Compute(y[i], x[offset[0]]));
      });
    }
    return {};
  });
}

constexpr OpDef unary_op(std::string_view name, Status (*infer)(InferContext&), Status (*evaluate)(EvalContext&)) {
  OpDef op;
  op.name = name;
  op.min_inputs = op.max_inputs = 1;
  op.traits = kElementwise | kChannelsLastOk;
  op.infer = infer;
  op.evaluate = evaluate;
  return op;
}

// Operators of one or more inputs that are folded pairwise.
constexpr OpDef variadic_op(std::string_view name, Status (*infer)(InferContext&), Status (*evaluate)(EvalContext&)) {
  OpDef op = unary_op(name, infer, evaluate);
  op.max_inputs = -1;
  op.traits |= kCommutative;
  return op;
}

constexpr OpDef binary_op(std::string_view name, Status (*infer)(InferContext&), Status (*evaluate)(EvalContext&),
                          uint32_t more_traits = 0) {
  OpDef op = unary_op(name, infer, evaluate);
  op.min_inputs = op.max_inputs = 2;
  op.traits |= more_traits;
  return op;
}

}  // namespace hussar
