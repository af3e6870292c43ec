// Typed access to tensors of any dtype for reference evaluators.
//
// A reference evaluator is written once for T in {float, double, int64_t, uint64_t} and chosen by dispatch(): see
// tensor/convert.h for which dtype computes as which T.
#pragma once
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <memory_resource>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "hussar/tensor.h"
#include "ops/workspace.h"
#include "tensor/attributes.h"
#include "tensor/convert.h"

namespace hussar {

template <class T>
bool is_stored_as(DType dtype) {
  if constexpr (std::is_same_v<T, float>) return dtype == DType::kFloat32;
  if constexpr (std::is_same_v<T, double>) return dtype == DType::kFloat64;
  if constexpr (std::is_same_v<T, int64_t>) return dtype == DType::kInt64;
  if constexpr (std::is_same_v<T, uint64_t>) return dtype == DType::kUInt64;
  return false;
}

// Read-only elements of a tensor as T: a view when stored as T, else a converted copy.
template <class T>
class Elements {
 public:
  Elements(const Tensor& tensor, Workspace& workspace) : size_(tensor.elements()) {
    if (is_stored_as<T>(tensor.dtype())) {
      data_ = tensor.data<T>();
    } else {
      data_ = copy_.emplace(workspace, size_).data();
      load_elements<T>(tensor, 0, size_, copy_->data());
    }
  }
  Elements(const Elements&) = delete;
  Elements& operator=(const Elements&) = delete;
  const T& operator[](int64_t index) const { return data_[index]; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }

 private:
  const T* data_ = nullptr;
  int64_t size_ = 0;
  std::optional<Scratch<T>> copy_;
};

// Elements to be written: in place when stored as T, else converted and stored when destroyed. Starts as zeros.
template <class T>
class MutableElements {
 public:
  MutableElements(Tensor& tensor, Workspace& workspace) : tensor_(tensor), size_(tensor.elements()) {
    if (is_stored_as<T>(tensor.dtype())) {
      data_ = tensor.data<T>();
    } else {
      data_ = copy_.emplace(workspace, size_).data();
      std::fill_n(data_, size_, T{});
    }
  }
  MutableElements(const MutableElements&) = delete;
  MutableElements& operator=(const MutableElements&) = delete;
  ~MutableElements() {
    if (copy_) store_elements<T>(tensor_, 0, size_, copy_->data());
  }
  T& operator[](int64_t index) { return data_[index]; }
  T* data() { return data_; }
  int64_t size() const { return size_; }

 private:
  Tensor& tensor_;
  T* data_ = nullptr;
  int64_t size_ = 0;
  std::optional<Scratch<T>> copy_;
};

template <class T>
struct Tag {
  using type = T;
};

// Calls body(Tag<T>{}) with the compute type of dtype. Requires a dtype that is computed with.
template <class Body>
auto dispatch(DType dtype, Body&& body) {
  switch (compute_type(dtype)) {
    case 'd': return body(Tag<double>{});
    case 'i': return body(Tag<int64_t>{});
    case 'u': return body(Tag<uint64_t>{});
    default: return body(Tag<float>{});
  }
}

// The same for operators that only floating types have.
template <class Body>
auto dispatch_floating(DType dtype, Body&& body) {
  return compute_type(dtype) == 'd' ? body(Tag<double>{}) : body(Tag<float>{});
}

// One number per dimension. Never allocates.
using ElementStrides = Shape;
// Row-major strides in elements; 0 for dimensions of size 1 that are broadcast to `target` (rank padded on the left).
ElementStrides broadcast_strides(const Shape& shape, const Shape& target);
ElementStrides row_major_strides(const Shape& shape);
// As many zeros as the shape has dimensions.
ElementStrides zero_strides(const Shape& shape);

// Visits every index of `shape` in row-major order and calls visit(linear, offsets...) with the element offset of each
// operand, whose strides (one per dimension) are given.
template <class Visit>
void for_each_index(const Shape& shape, std::span<const ElementStrides> strides, Visit&& visit) {
  int64_t total = shape.elements();
  int rank = shape.rank();
  int64_t index[kMaxRank] = {};
  // More operands than fit here take memory of their own.
  std::byte memory[256];
  std::pmr::monotonic_buffer_resource resource(memory, sizeof(memory));
  std::pmr::vector<int64_t> offsets(strides.size(), 0, &resource);
  for (int64_t linear = 0; linear < total; ++linear) {
    visit(linear, offsets.data());
    for (int axis = rank - 1; axis >= 0; --axis) {
      bool carry = ++index[axis] == shape[axis];
      for (size_t k = 0; k < strides.size(); ++k) {
        offsets[k] += carry ? -strides[k][axis] * (shape[axis] - 1) : strides[k][axis];
      }
      if (!carry) break;
      index[axis] = 0;
    }
  }
}
template <class Visit>
void for_each_index(const Shape& shape, std::initializer_list<ElementStrides> strides, Visit&& visit) {
  for_each_index(shape, std::span<const ElementStrides>(strides.begin(), strides.size()), std::forward<Visit>(visit));
}

}  // namespace hussar
