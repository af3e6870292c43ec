// List arguments of operators during inference.
#include "ops/arguments.h"

#include <numeric>

#include "tensor/convert.h"

namespace hussar {
namespace {

// Far above any tensor that fits in memory, far below where sums and products of a few overflow.
constexpr int64_t kLargestDimension = int64_t{1} << 40;

}  // namespace

Result<std::optional<Dims>> list_argument(const InferContext& context, size_t index) {
  if (!context.has(index)) return std::optional<Dims>();
  if (context.dtype(index) != DType::kInt64 && context.dtype(index) != DType::kInt32) {
    return context.fail("input {} must be an int64 tensor, it is {}", index, dtype_name(context.dtype(index)));
  }
  if (context.rank(index) > 1)
    return context.fail("input {} must be a list, it has rank {}", index, context.rank(index));
  if (const Tensor* constant = context.constant(index)) {
    Ints values(static_cast<size_t>(constant->elements()));
    load_elements<int64_t>(*constant, 0, constant->elements(), values.data());
    return std::optional<Dims>(Dims(values.begin(), values.end()));
  }
  return context.elements(index);
}

Result<std::optional<Ints>> integers_argument(const InferContext& context, size_t index) {
  auto list = HUSSAR_TRY(list_argument(context, index));
  if (!list) return std::optional<Ints>();
  Ints values;
  for (const Dim& dim : *list) {
    if (!dim.is_constant()) return std::optional<Ints>();
    values.push_back(dim.value());
  }
  return std::optional<Ints>(std::move(values));
}

std::optional<int> list_length(const InferContext& context, size_t index) {
  const Dims* dims = context.dims(index);
  if (dims == nullptr || dims->size() > 1) return std::nullopt;
  if (dims->empty()) return 1;
  const Dim& length = dims->front();
  if (!length.is_constant() || length.value() > kMaxRank) return std::nullopt;
  return static_cast<int>(length.value());
}

Result<std::optional<Ints>> axes_argument(const InferContext& context, size_t index, int rank) {
  if (!context.has(index)) {
    Ints all(static_cast<size_t>(rank));
    std::iota(all.begin(), all.end(), 0);
    return std::optional<Ints>(std::move(all));
  }
  auto axes = HUSSAR_TRY(integers_argument(context, index));
  if (!axes) return axes;
  return std::optional<Ints>(HUSSAR_TRY(context.normalize_axes(*axes, rank)));
}

Result<Dim> checked_product(const InferContext& context, const Dims& dims) {
  int64_t total = 1;
  for (const Dim& dim : dims) {
    if (!dim.is_constant()) return product(dims);
    if (__builtin_mul_overflow(total, dim.value(), &total))
      return context.fail("shape {} is too large", to_string(dims));
  }
  return Dim(total);
}

Status check_dimension(const InferContext& context, const Dim& dim) {
  if (dim.is_constant() && (dim.value() < 0 || dim.value() > kLargestDimension)) {
    return context.fail("{} is not a dimension", dim.value());
  }
  return {};
}

Result<Dim> same_dim(const InferContext& context, const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant() && a.value() != b.value()) {
    return context.fail("dimensions {} and {} should be equal", a.value(), b.value());
  }
  return a.is_constant() ? a : b;
}

}  // namespace hussar
