// Shapes and index order of reductions.
#include "ops/reduce.h"

#include <array>

namespace hussar {
namespace {

bool keeps_dims(const Attributes& attributes) { return attributes.get_int("keepdims", 1) != 0; }

// Whether each axis is reduced. An empty list of axes means all of them, or none with noop_with_empty_axes.
std::array<bool, kMaxRank> reduced_axes(const Attributes& attributes, std::span<const int64_t> axes, int rank) {
  std::array<bool, kMaxRank> reduced;
  reduced.fill(axes.empty() && attributes.get_int("noop_with_empty_axes", 0) == 0);
  for (int64_t axis : axes) reduced[static_cast<size_t>(axis < 0 ? axis + rank : axis)] = true;
  return reduced;
}

}  // namespace

Status infer_reduce(InferContext& context) {
  DType dtype = context.dtype(0);
  const Dims* dims = context.dims(0);
  auto axes = HUSSAR_TRY(integers_argument(context, 1));
  if (!context.has(1)) axes.emplace();
  if (dims == nullptr || !axes) {
    if (dims != nullptr && keeps_dims(context.attributes))
      context.set_rank(0, dtype, context.rank(0));
    else
      context.set_unknown(0, dtype);
    return {};
  }
  HUSSAR_TRY(context.normalize_axes(*axes, context.rank(0)));
  if (dims->empty() && !axes->empty()) return context.fail("a scalar has no axes");
  if (dims->size() > kMaxRank) return context.fail("rank {} exceeds {}", dims->size(), kMaxRank);
  const std::array<bool, kMaxRank> reduced = reduced_axes(context.attributes, *axes, context.rank(0));
  Dims out;
  for (size_t axis = 0; axis < dims->size(); ++axis) {
    if (!reduced[axis])
      out.push_back((*dims)[axis]);
    else if (keeps_dims(context.attributes))
      out.push_back(Dim(1));
  }
  context.set(0, dtype, std::move(out));
  return {};
}

Status infer_reduce_elements(InferContext& context, Dim (*combine)(const Dim&, const Dim&)) {
  HUSSAR_TRY(infer_reduce(context));
  auto elements = context.elements(0);
  const auto& dims = context.outputs[0].dims;
  bool is_whole = dims && (dims->empty() || dims->front().is(1)) && context.rank(0) == 1;
  if (!elements || elements->empty() || !is_whole || !is_signed_integer(context.dtype(0))) return {};
  Dim result = elements->front();
  for (size_t i = 1; i < elements->size(); ++i) result = combine(result, (*elements)[i]);
  context.set_elements(0, {result});
  return {};
}

Reduction reduction_of(const EvalContext& context) {
  const Shape& shape = context.shape(0);
  const std::array<bool, kMaxRank> reduced =
      reduced_axes(context.attributes, context.few_integers(1).dims(), shape.rank());
  const ElementStrides strides = row_major_strides(shape);
  Reduction result;
  for (bool inside : {false, true}) {
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (reduced[static_cast<size_t>(axis)] != inside) continue;
      result.shape.push_back(shape[axis]);
      result.strides.push_back(strides[axis]);
      if (inside) result.count *= shape[axis];
    }
  }
  return result;
}

}  // namespace hussar
