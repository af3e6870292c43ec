#include "backends/cpu/int8_packing.h"

#include <algorithm>
#include <cstring>

namespace hussar::cpu {

// Where element (row, column) of a panel lies.
static int64_t place(int64_t row, int64_t column) { return (row / 4 * kInt8Columns + column) * 4 + row % 4; }

void pack_int8_weights(const int8_t* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride, int8_t* out) {
  std::memset(out, 0, static_cast<size_t>(int8_weight_bytes(k, n)));
  for (int64_t first = 0; first < n; first += kInt8Columns, out += int8_panel_bytes(k)) {
    const int64_t columns = std::min(kInt8Columns, n - first);
    int32_t sums[kInt8Columns] = {};
    for (int64_t row = 0; row < k; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        const int8_t weight = b[row * row_stride + (first + column) * column_stride];
        out[place(row, column)] = weight;
        sums[column] += weight;
      }
    }
    std::memcpy(out + int8_depth(k) * kInt8Columns, sums, sizeof(sums));
  }
}

void unpack_int8_weights(const int8_t* packed, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride,
                         int8_t* b) {
  for (int64_t column = 0; column < n; ++column) {
    const int8_t* panel = packed + column / kInt8Columns * int8_panel_bytes(k);
    for (int64_t row = 0; row < k; ++row)
      b[row * row_stride + column * column_stride] = panel[place(row, column % kInt8Columns)];
  }
}

}  // namespace hussar::cpu
