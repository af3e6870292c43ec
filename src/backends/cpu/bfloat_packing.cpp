#include "backends/cpu/bfloat_packing.h"

#include <algorithm>

#include "tensor/convert.h"

namespace hussar::cpu {

void pack_bfloat_weights(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride,
                         uint16_t* out) {
  std::fill_n(out, bfloat_weight_elements(k, n), uint16_t{0});
  for (int64_t first = 0; first < n; first += kPanelColumns, out += bfloat_panel_elements(k)) {
    const int64_t columns = std::min(kPanelColumns, n - first);
    for (int64_t row = 0; row < k; ++row) {
      const float* source = b + row * row_stride + first * column_stride;
      uint16_t* const pairs = out + row / 2 * 2 * kPanelColumns + row % 2;
      for (int64_t i = 0; i < columns; ++i) pairs[2 * i] = float_to_bfloat16(source[i * column_stride]);
    }
  }
}

}  // namespace hussar::cpu
