// Operators that only move elements: they treat a tensor as equally wide words, whatever its dtype.
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"

namespace hussar {

// Calls body(Tag<W>{}) with the unsigned integer W that is as wide as one element of dtype.
template <class Body>
auto dispatch_width(DType dtype, Body&& body) {
  switch (dtype_size(dtype)) {
    case 1: return body(Tag<uint8_t>{});
    case 2: return body(Tag<uint16_t>{});
    case 4: return body(Tag<uint32_t>{});
    default: return body(Tag<uint64_t>{});
  }
}

// out[i] = in[base + strides . index], the i-th index of `shape` in row-major order. Strides are in elements, they
// may be zero or negative, and must stay inside `in`; shape.elements() == out.elements().
void copy_strided(const Tensor& in, int64_t base, const Shape& shape, const ElementStrides& strides, Tensor& out);

// out[index] = in[sum over axes of maps[axis][index[axis]]]: for every axis of `out`, maps gives the element offset
// that each index adds, or -1 where the output is `*fill` (one element) instead.
void copy_mapped(const Tensor& in, const std::vector<Ints>& maps, const void* fill, Tensor& out);

// The same elements in the same order; both tensors must have as many.
void copy_elements(const Tensor& in, Tensor& out);

// Evaluates operators with the trait kView: output 0 has the elements of input 0.
Status evaluate_view(EvalContext& context);
// Lets the symbolic elements of input 0 pass when the output of a view is a list or a scalar.
void infer_view_elements(InferContext& context);

// An index in [-length, length) as one in [0, length); fails outside.
inline Result<int64_t> wrap_index(const EvalContext& context, int64_t index, int64_t length) {
  if (index < -length || index >= length) return context.fail("index {} is out of range for {}", index, length);
  return index < 0 ? index + length : index;
}

}  // namespace hussar
