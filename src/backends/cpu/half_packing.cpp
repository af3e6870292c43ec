#include "backends/cpu/half_packing.h"

#include <algorithm>

#include "tensor/convert.h"

namespace hussar::cpu {

// Where a panel has its element.
static int64_t place_in_panel(int64_t row, int64_t column) {
  return row / 2 * 64 + row % 2 + column % 2 * 32 + column / 2 * 2;
}

void pack_half_weights(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride, uint16_t* out) {
  std::fill_n(out, half_weight_elements(k, n), uint16_t{0});
  for (int64_t first = 0; first < n; first += kHalfPanelColumns, out += half_panel_elements(k)) {
    const int64_t columns = std::min(kHalfPanelColumns, n - first);
    for (int64_t row = 0; row < k; ++row) {
      const float* source = b + row * row_stride + first * column_stride;
      for (int64_t i = 0; i < columns; ++i) out[place_in_panel(row, i)] = float_to_half(source[i * column_stride]);
    }
  }
}

void unpack_half_weights(const uint16_t* packed, int64_t k, int64_t n, float* b) {
  for (int64_t i = 0; i < k * n; ++i) {
    const int64_t column = i % n, panel = column / kHalfPanelColumns;
    b[i] = half_to_float(packed[panel * half_panel_elements(k) + place_in_panel(i / n, column % kHalfPanelColumns)]);
  }
}

}  // namespace hussar::cpu
