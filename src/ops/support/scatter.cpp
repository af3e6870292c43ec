// Gather and scatter offsets, and the reductions of the scatter operators.
#include "ops/scatter.h"

#include "ops/arithmetic.h"
#include "ops/movement.h"

namespace hussar {

Status check_element_indices(const InferContext& context, size_t data, size_t indices) {
  if (is_floating(context.dtype(indices))) return context.fail("indices must be integers");
  const Dims* from = context.dims(data);
  const Dims* index = context.dims(indices);
  if (from == nullptr) return {};
  if (from->empty()) return context.fail("the data must not be a scalar");
  int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", 0), context.rank(data)));
  if (index == nullptr) return {};
  if (index->size() != from->size()) return context.fail("data has rank {}, indices {}", from->size(), index->size());
  for (size_t k = 0; k < from->size(); ++k) {
    const Dim& limit = (*from)[k];
    const Dim& length = (*index)[k];
    bool too_long = limit.is_constant() && length.is_constant() && length.value() > limit.value();
    if (static_cast<int>(k) != axis && too_long) {
      return context.fail("indices are longer than the data at axis {}: {} and {}", k, length.value(), limit.value());
    }
  }
  return {};
}

Result<Ints> element_offsets(const EvalContext& context, size_t data, size_t indices) {
  const Shape& shape = context.shape(data);
  int64_t axis = context.attributes.get_int("axis", 0);
  const auto at = static_cast<int>(axis < 0 ? axis + shape.rank() : axis);
  ElementStrides strides = row_major_strides(shape);
  int64_t axis_stride = strides[at];
  int64_t length = shape[at];
  Ints list = context.integers(indices);
  for (int64_t& index : list) index = HUSSAR_TRY(wrap_index(context, index, length)) * axis_stride;
  strides[at] = 0;
  for_each_index(context.shape(indices), {strides},
                 [&](int64_t i, const int64_t* own) { list[static_cast<size_t>(i)] += own[0]; });
  return list;
}

Result<TupleOffsets> tuple_offsets(const EvalContext& context, size_t data, size_t indices, int batch_dims) {
  const Shape& shape = context.shape(data);
  const Shape& index_shape = context.shape(indices);
  auto tuple = static_cast<int>(index_shape[index_shape.rank() - 1]);
  const ElementStrides strides = row_major_strides(shape);
  Ints list = context.integers(indices);
  TupleOffsets result;
  result.block = shape.elements(batch_dims + tuple, shape.rank());
  int64_t tuples = index_shape.elements(0, index_shape.rank() - 1);
  int64_t batches = index_shape.elements(0, batch_dims);
  int64_t batch_size = shape.elements(batch_dims, shape.rank());
  result.offsets.reserve(static_cast<size_t>(tuples));
  for (int64_t i = 0; i < tuples; ++i) {
    int64_t offset = i / (tuples / batches) * batch_size;
    for (int k = 0; k < tuple; ++k) {
      int64_t index = list[static_cast<size_t>(i * tuple + k)];
      offset += HUSSAR_TRY(wrap_index(context, index, shape[batch_dims + k])) * strides[batch_dims + k];
    }
    result.offsets.push_back(offset);
  }
  return result;
}

Status check_reduction(const InferContext& context) {
  std::string reduction = context.attributes.get_string("reduction", "none");
  for (const char* known : {"none", "add", "mul", "max", "min"}) {
    if (reduction == known) return {};
  }
  return context.fail("unknown reduction '{}'", reduction);
}

namespace {

template <class T, class Combine>
void combine_updates(const Elements<T>& updates, MutableElements<T>& out, const Ints& offsets, int64_t block,
                     Combine combine) {
  for (size_t k = 0; k < offsets.size(); ++k) {
    for (int64_t j = 0; j < block; ++j) {
      T& target = out[offsets[k] + j];
      target = combine(target, updates[static_cast<int64_t>(k) * block + j]);
    }
  }
}

}  // namespace

Status scatter_updates(EvalContext& context, const Ints& offsets, int64_t block) {
  std::string reduction = context.attributes.get_string("reduction", "none");
  const Tensor& data = context.input(0);
  if (context.input(2).elements() != static_cast<int64_t>(offsets.size()) * block) {
    return context.fail("updates have {} elements instead of {}", context.input(2).elements(),
                        static_cast<int64_t>(offsets.size()) * block);
  }
  if (reduction == "none") {
    copy_elements(data, context.output());
    return dispatch_width(data.dtype(), [&](auto tag) -> Status {
      using Word = typename decltype(tag)::type;
      const Word* updates = context.input(2).data<Word>();
      for (int64_t offset : offsets) {
        std::copy_n(updates, block, context.output().data<Word>() + offset);
        updates += block;
      }
      return {};
    });
  }
  return dispatch(data.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto from = context.read<T>(0);
    auto updates = context.read<T>(2);
    auto out = context.write<T>();
    std::copy(from.begin(), from.end(), out.data());
    auto combine = [&](auto function) { combine_updates<T>(updates, out, offsets, block, function); };
    if (reduction == "add")
      combine([](T a, T b) { return wrapping_add(a, b); });
    else if (reduction == "mul")
      combine([](T a, T b) { return wrapping_multiply(a, b); });
    else if (reduction == "max")
      combine([](T a, T b) { return a < b || b != b ? b : a; });
    else
      combine([](T a, T b) { return b < a || b != b ? b : a; });
    return {};
  });
}

}  // namespace hussar
