// Quantised values: ranges, saturation, zero points.
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"

namespace hussar {

struct IntegerRange {
  double lowest, highest;
};
// Of an integer type of at most 32 bits; that of uint8 for other types.
IntegerRange integer_range(DType dtype);

// saturate(round(value) + zero_point), ties to even; NaN becomes the lowest value.
inline int64_t quantize(float value, int64_t zero_point, const IntegerRange& range) {
  double sum = static_cast<double>(std::nearbyint(value)) + static_cast<double>(zero_point);
  if (!(sum > range.lowest)) return static_cast<int64_t>(range.lowest);
  return static_cast<int64_t>(std::min(sum, range.highest));
}

// A scale or zero point must have one element or, when `length` is not null, be 1-D of that length. An omitted input
// is fine.
Status check_parameter(const InferContext& context, size_t input, const Dim* length);
// The type of an input, where it is known, must be an integer of at most `bits` bits: sums of products of such numbers
// are exact.
Status check_integer(const InferContext& context, size_t input, int bits);
// The first dim of an input; null when unknown.
inline const Dim* leading_dim(const InferContext& context, size_t input) {
  return context.rank(input) > 0 ? &(*context.dims(input))[0] : nullptr;
}

// The elements of `data` minus its zero point, which is omitted, one number, or one number per index of axis 0.
std::vector<int64_t> centered(const EvalContext& context, size_t data, size_t zero_point);

// How a scale belongs to the elements of a tensor: one for all, one per index of an axis, or one per block of an axis.
// The scale of element [outer][k][inner] around the axis has the index
//   outer * outer_step + k / block * block_step + inner * inner_step.
struct ScaleMap {
  int64_t outer = 1, length = 1, inner = 1;
  int64_t block = 1, outer_step = 0, block_step = 0, inner_step = 0;

  template <class Visit>  // visit(element, scale index)
  void for_each(Visit&& visit) const {
    for (int64_t o = 0, i = 0; o < outer; ++o) {
      for (int64_t k = 0; k < length; ++k) {
        int64_t base = o * outer_step + k / block * block_step;
        for (int64_t n = 0; n < inner; ++n, ++i) visit(i, base + n * inner_step);
      }
    }
  }
};
// For inputs 0 (data) and 1 (scale) with the attributes axis and block_size, as check_scales has accepted them.
ScaleMap scale_map(const EvalContext& context);
// Checks the scale (input 1) and zero point (input 2) of QuantizeLinear and DequantizeLinear.
Status check_scales(const InferContext& context);

}  // namespace hussar
