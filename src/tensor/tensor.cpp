// DType facts, Shape arithmetic and Tensor ownership.
#include "hussar/tensor.h"

#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <new>

#include "base/memory.h"

namespace hussar {
namespace {

struct DTypeRow {
  std::string_view name;
  uint8_t size;
  char kind;  // 'f' floating, 'i' signed, 'u' unsigned, 'b' bool, '-' not computed with
};

constexpr DTypeRow kRows[] = {
    {"undefined", 0, '-'},      {"float32", 4, 'f'},      {"uint8", 1, 'u'},          {"int8", 1, 'i'},
    {"uint16", 2, 'u'},         {"int16", 2, 'i'},        {"int32", 4, 'i'},          {"int64", 8, 'i'},
    {"string", 0, '-'},         {"bool", 1, 'b'},         {"float16", 2, 'f'},        {"float64", 8, 'f'},
    {"uint32", 4, 'u'},         {"uint64", 8, 'u'},       {"complex64", 0, '-'},      {"complex128", 0, '-'},
    {"bfloat16", 2, 'f'},       {"float8e4m3fn", 1, 'f'}, {"float8e4m3fnuz", 1, 'f'}, {"float8e5m2", 1, 'f'},
    {"float8e5m2fnuz", 1, 'f'}, {"uint4", 1, 'u'},        {"int4", 1, 'i'},           {"float4e2m1", 1, 'f'},
    {"float8e8m0", 1, 'f'},     {"uint2", 1, 'u'},        {"int2", 1, 'i'},
};

const DTypeRow& row(DType dtype) {
  auto index = static_cast<size_t>(dtype);
  return kRows[index < std::size(kRows) ? index : 0];
}

}  // namespace

size_t dtype_size(DType dtype) { return row(dtype).size; }
std::string_view dtype_name(DType dtype) { return row(dtype).name; }
bool is_floating(DType dtype) { return row(dtype).kind == 'f'; }
bool is_signed_integer(DType dtype) { return row(dtype).kind == 'i'; }
bool is_unsigned_integer(DType dtype) { return row(dtype).kind == 'u'; }

DType dtype_from_name(std::string_view name) {
  for (size_t i = 0; i < std::size(kRows); ++i) {
    if (kRows[i].name == name) return static_cast<DType>(i);
  }
  return DType::kUndefined;
}

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(std::min<size_t>(dims.size(), kMaxRank))) {
  std::copy_n(dims.begin(), rank_, dims_);
}

int64_t Shape::elements(int begin, int end) const {
  int64_t product = 1;
  bool overflow = false;
  for (int axis = begin; axis < end; ++axis) {
    if (dims_[axis] == 0) return 0;
    overflow = overflow || __builtin_mul_overflow(product, dims_[axis], &product);
  }
  return overflow ? std::numeric_limits<int64_t>::max() : product;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

std::string Shape::to_string() const {
  return rank_ == 0 ? std::string("scalar") : fmt::format("{}", fmt::join(begin(), end(), "x"));
}

std::optional<size_t> bytes_needed(DType dtype, const Shape& shape) {
  constexpr uint64_t kMost = uint64_t{1} << 46;
  uint64_t bytes = dtype_size(dtype), bound = std::max<uint64_t>(bytes, 1);
  for (int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(bound, static_cast<uint64_t>(std::max<int64_t>(dim, 1)), &bound)) {
      return std::nullopt;
    }
    bytes *= static_cast<uint64_t>(dim);  // at most bound
  }
  return bound <= kMost ? std::optional<size_t>(bytes) : std::nullopt;
}

Tensor::Tensor(DType dtype, const Shape& shape) : dtype_(dtype), shape_(shape) {
  auto needed = bytes_needed(dtype, shape);
  if (!needed) throw std::bad_alloc();
  AlignedMemory memory(allocate_aligned(*needed));
  std::memset(memory.get(), 0, *needed);
  data_ = memory.get();
  owner_ = std::shared_ptr<const std::byte>(std::move(memory));
}

Tensor Tensor::view(DType dtype, const Shape& shape, void* data, std::shared_ptr<const void> owner) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.shape_ = shape;
  tensor.data_ = static_cast<std::byte*>(data);
  tensor.owner_ = std::move(owner);
  return tensor;
}

Tensor Tensor::reshaped(const Shape& shape) const {
  Tensor result = *this;
  result.shape_ = shape;
  return result;
}

Tensor Tensor::reinterpreted(DType dtype) const {
  Tensor result = *this;
  result.dtype_ = dtype;
  return result;
}

Tensor Tensor::clone() const {
  Tensor copy(dtype_, shape_);
  if (bytes() > 0) std::memcpy(copy.data_, data_, bytes());
  return copy;
}

}  // namespace hussar
