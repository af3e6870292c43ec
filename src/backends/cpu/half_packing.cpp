#include "backends/cpu/half_packing.h"

#include <algorithm>

#include "tensor/convert.h"

namespace hussar::cpu {

void pack_half_weights(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride, uint16_t* out) {
  std::fill_n(out, half_weight_elements(k, n), uint16_t{0});
  for (int64_t first = 0; first < n; first += kHalfPanelColumns, out += half_panel_elements(k)) {
    const int64_t columns = std::min(kHalfPanelColumns, n - first);
    for (int64_t row = 0; row < k; ++row) {
      const float* source = b + row * row_stride + first * column_stride;
      uint16_t* const pair = out + row / 2 * 64 + row % 2;
      for (int64_t i = 0; i < columns; ++i) pair[i % 2 * 32 + i / 2 * 2] = float_to_half(source[i * column_stride]);
    }
  }
}

}  // namespace hussar::cpu
