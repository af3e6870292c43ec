// DType, Shape and Tensor: a block of numbers with a type and dimensions.
//
// A Tensor is dense and row-major in its logical dimension order. Copying a Tensor shares its bytes; a Tensor may also
// view memory that it does not own (Tensor::view), which the caller keeps alive. Distinct Tensors may be used from
// distinct threads; one Tensor may be read by several threads at once.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace hussar {

// Element types. The values are those of ONNX's TensorProto.DataType and appear in plan files: never renumber.
// Four-bit and two-bit types are kept one element per byte in memory; they are packed only in files.
enum class DType : uint8_t {
  kUndefined = 0,
  kFloat32 = 1,
  kUInt8 = 2,
  kInt8 = 3,
  kUInt16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,  // recognised on import, never computed with
  kBool = 9,
  kFloat16 = 10,
  kFloat64 = 11,
  kUInt32 = 12,
  kUInt64 = 13,
  kComplex64 = 14,   // recognised on import, never computed with
  kComplex128 = 15,  // recognised on import, never computed with
  kBFloat16 = 16,
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUInt4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUInt2 = 25,
  kInt2 = 26,
};

// Where work is done and where tensors lie.
enum class Place : uint8_t {
  kHost,    // the CPU
  kDevice,  // a GPU with memory of its own
};

// Bytes that one element takes in memory; 0 for types that Hussar does not compute with.
size_t dtype_size(DType dtype);
// "float32", "int4", ...
std::string_view dtype_name(DType dtype);
// The inverse of dtype_name; kUndefined when there is no such name.
DType dtype_from_name(std::string_view name);
bool is_floating(DType dtype);
bool is_signed_integer(DType dtype);
bool is_unsigned_integer(DType dtype);

inline constexpr int kMaxRank = 12;

// The dimensions of a tensor, outermost first. Rank 0 is a scalar. Never allocates.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  // Requires dims.size() <= kMaxRank.
  explicit Shape(std::span<const int64_t> dims);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[axis]; }
  int64_t& operator[](int axis) { return dims_[axis]; }
  const int64_t* begin() const { return dims_; }
  const int64_t* end() const { return dims_ + rank_; }
  std::span<const int64_t> dims() const { return {dims_, static_cast<size_t>(rank_)}; }
  void push_back(int64_t dim) { dims_[rank_++] = dim; }
  // The product of all dimensions; 1 for a scalar, INT64_MAX when it is larger.
  int64_t elements() const { return elements(0, rank_); }
  // The product of the dimensions in [begin, end).
  int64_t elements(int begin, int end) const;
  bool operator==(const Shape& other) const;
  // "2x3x4", "scalar"
  std::string to_string() const;

 private:
  int64_t dims_[kMaxRank] = {};
  int rank_ = 0;
};

// The bytes that a dense tensor takes; nullopt when a dimension is negative or the dimensions multiply to more than any
// machine has (zeros counted as ones, so that every partial product is a number too).
std::optional<size_t> bytes_needed(DType dtype, const Shape& shape);

class Tensor {
 public:
  Tensor() = default;
  // Allocates zeroed memory, 64-byte aligned. Throws std::bad_alloc, also when the shape makes no sense.
  Tensor(DType dtype, const Shape& shape);
  // Views `data` and shares ownership of whatever `owner` keeps alive (null: the caller does).
  static Tensor view(DType dtype, const Shape& shape, void* data, std::shared_ptr<const void> owner = nullptr);

  template <class T>
  static Tensor from(DType dtype, const Shape& shape, std::span<const T> values) {
    Tensor tensor(dtype, shape);
    std::copy(values.begin(), values.end(), tensor.data<T>());
    return tensor;
  }

  bool valid() const { return dtype_ != DType::kUndefined; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t elements() const { return shape_.elements(); }
  size_t bytes() const { return static_cast<size_t>(elements()) * dtype_size(dtype_); }
  std::byte* raw() { return data_; }
  const std::byte* raw() const { return data_; }
  template <class T>
  T* data() {
    return reinterpret_cast<T*>(data_);
  }
  template <class T>
  const T* data() const {
    return reinterpret_cast<const T*>(data_);
  }
  // The same bytes under another shape with as many elements.
  Tensor reshaped(const Shape& shape) const;
  // The same bytes read as another dtype of the same element size.
  Tensor reinterpreted(DType dtype) const;
  // A deep copy that owns its bytes.
  Tensor clone() const;

 private:
  DType dtype_ = DType::kUndefined;
  Shape shape_;
  std::byte* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

}  // namespace hussar
