// Einsum: sums of products by an equation such as "bij,bjk->bik". A label names a dimension; labels that the output
// lacks are summed over; "..." stands for dimensions that broadcast. Without "->" the output has the dimensions of
// "..." and then every label that occurs once, in alphabetical order.
#include <map>

#include "ops/arguments.h"
#include "ops/arithmetic.h"
#include "ops/einsum.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

// The dimension of every label; dimensions of 1 in an ellipsis broadcast.
Result<std::map<int, Dim>> label_dims(const InferContext& context, const Equation& equation) {
  std::map<int, Dim> dims;
  for (size_t i = 0; i < equation.inputs.size(); ++i) {
    for (size_t axis = 0; axis < equation.inputs[i].size(); ++axis) {
      int label = equation.inputs[i][axis];
      const Dim& dim = (*context.dims(i))[axis];
      auto [it, inserted] = dims.emplace(label, dim);
      if (inserted || dim.is(1)) continue;
      it->second = it->second.is(1) ? dim : HUSSAR_TRY(same_dim(context, it->second, dim));
    }
  }
  return dims;
}

Status infer(InferContext& context) {
  context.set_unknown(0, context.dtype(0));
  std::vector<int> ranks;
  for (size_t i = 0; i < context.input_count(); ++i) {
    if (context.node.input(i) == nullptr) return context.fail("input {} is missing", i);
    if (context.dtype(i) != context.dtype(0)) return context.fail("inputs have different dtypes");
    if (context.rank(i) < 0) return {};
    ranks.push_back(context.rank(i));
  }
  std::string text = context.attributes.get_string("equation", "");
  auto equation = parse_equation(text, ranks);
  if (!equation) return context.fail("the equation '{}' is malformed or does not fit the inputs", text);
  auto dims = HUSSAR_TRY(label_dims(context, *equation));
  if (dims.size() > kMaxRank) return context.fail("the equation has more than {} labels", kMaxRank);
  Dims loop, out;
  for (const auto& [label, dim] : dims) loop.push_back(dim);
  HUSSAR_TRY(checked_product(context, loop));
  Labels used;
  for (int label : equation->output) {
    bool repeated = std::find(used.begin(), used.end(), label) != used.end();
    if (dims.count(label) == 0 || repeated) return context.fail("the output of '{}' is malformed", text);
    used.push_back(label);
    out.push_back(dims.at(label));
  }
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

Status evaluate(EvalContext& context) {
  std::vector<int> ranks;
  for (size_t i = 0; i < context.input_count(); ++i) ranks.push_back(context.shape(i).rank());
  auto equation = parse_equation(context.attributes.get_string("equation", ""), ranks);
  if (!equation) return context.fail("malformed equation");
  // The loop: the output's labels outside, those that are summed over inside.
  std::map<int, int64_t> length;
  std::map<int, size_t> place;
  for (size_t i = 0; i < ranks.size(); ++i) {
    for (size_t axis = 0; axis < equation->inputs[i].size(); ++axis) {
      int64_t dim = context.shape(i)[static_cast<int>(axis)];
      auto [it, inserted] = length.emplace(equation->inputs[i][axis], dim);
      if (!inserted && it->second == 1) it->second = dim;
    }
  }
  Shape loop;
  for (int label : equation->output) {
    place[label] = static_cast<size_t>(loop.rank());
    loop.push_back(length[label]);
  }
  int64_t summed = 1;
  for (auto [label, dim] : length) {
    if (!place.emplace(label, static_cast<size_t>(loop.rank())).second) continue;
    loop.push_back(dim);
    summed *= dim;
  }
  std::vector<ElementStrides> strides;
  for (size_t i = 0; i < ranks.size(); ++i) {
    const ElementStrides own = row_major_strides(context.shape(i));
    ElementStrides& line = strides.emplace_back(zero_strides(loop));
    for (int axis = 0; axis < own.rank(); ++axis) {
      if (context.shape(i)[axis] != 1) line[place[equation->inputs[i][static_cast<size_t>(axis)]]] += own[axis];
    }
  }
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    std::vector<std::unique_ptr<Elements<T>>> x;
    for (size_t i = 0; i < ranks.size(); ++i)
      x.push_back(std::make_unique<Elements<T>>(context.input(i), context.workspace()));
    auto y = context.write<T>();
    for (int64_t i = 0; i < y.size(); ++i) y[i] = 0;
    Accumulator<T> sum = 0;
    for_each_index(loop, strides, [&](int64_t i, const int64_t* offset) {
      Accumulator<T> term = 1;
      for (size_t k = 0; k < x.size(); ++k) term *= static_cast<Accumulator<T>>((*x[k])[offset[k]]);
      sum = i % summed == 0 ? term : sum + term;
      if ((i + 1) % summed == 0) y[i / summed] = static_cast<T>(sum);
    });
    return {};
  });
}

}  // namespace

extern const OpDef einsum_op = {
    .name = "Einsum", .min_inputs = 1, .max_inputs = -1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
