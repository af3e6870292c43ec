#include "tensor/mask_width.h"

#include <algorithm>
#include <bit>

#include "tensor/float8_mask.h"

namespace hussar {
namespace {

constexpr int64_t kMaskGroup = 4;

template <class Number>
bool all_share(const MatrixView<const Number>& weights) {
  for (int64_t group = 0; group < weights.k; group += kMaskGroup) {
    uint8_t used = 0;
    for (int64_t i = 0; i < kMaskGroup; ++i) {
      const Number* const row = weights.row(group + i);
      for (int64_t column = 0; column < weights.n && (used >> i & 1) == 0; ++column)
        used = static_cast<uint8_t>(used | (row[column * weights.column_stride] != Number{} ? 1 : 0) << i);
    }
    if (std::popcount(used) > 2) return false;
  }
  return true;
}

template <class Number>
int64_t width_of(const Number* numbers, const Shape& shape, WeightForm form) {
  const MatrixView<const Number> view = view_weights(numbers, shape, form);
  if (view.k % kMaskGroup != 0 || view.k == 0 || view.n == 0) return 0;
  const int64_t panels = find_shared_mask(view).panels;
  if (panels > 0) return all_share(view) ? view.n : panels * kPanelOfMask;
  return is_two_of_four(view) ? 1 : 0;
}

}  // namespace

int64_t mask_width(const Tensor& weights, WeightForm form) {
  switch (weights.dtype()) {
    case DType::kFloat32: return width_of(weights.data<float>(), weights.shape(), form);
    case DType::kInt8: return width_of(weights.data<int8_t>(), weights.shape(), form);
    case DType::kFloat16:
    case DType::kBFloat16: return width_of(weights.data<Half>(), weights.shape(), form);
    case DType::kFloat8E4M3FN: return width_of(weights.data<Float8>(), weights.shape(), form);
    default: return 0;
  }
}

std::string spell_mask_width(int64_t width) {
  return width == 0 ? "" : width == 1 ? "2:4" : "2:4x" + std::to_string(width);
}

}  // namespace hussar
