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

void pack_int8_depthwise(const int8_t* weights, int64_t channels, int64_t taps, int8_t* out) {
  std::memset(out, 0, static_cast<size_t>(int8_depthwise_bytes(channels, taps)));
  for (int64_t channel = 0; channel < channels; ++channel) {
    int8_t* const block = out + channel / kInt8Columns * int8_depthwise_block_bytes(taps);
    const int64_t column = channel % kInt8Columns;
    int32_t sum = 0;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int16_t weight = weights[channel * taps + tap];
      std::memcpy(block + ((tap / 2 * kInt8Columns + column) * 2 + tap % 2) * 2, &weight, 2);
      sum += weight;
    }
    std::memcpy(block + (taps + 1) / 2 * kInt8Columns * 4 + column * 4, &sum, 4);
  }
}

void unpack_int8_depthwise(const int8_t* packed, int64_t channels, int64_t taps, int8_t* weights) {
  for (int64_t channel = 0; channel < channels; ++channel) {
    const int8_t* const block = packed + channel / kInt8Columns * int8_depthwise_block_bytes(taps);
    for (int64_t tap = 0; tap < taps; ++tap) {
      int16_t weight = 0;
      std::memcpy(&weight, block + ((tap / 2 * kInt8Columns + channel % kInt8Columns) * 2 + tap % 2) * 2, 2);
      weights[channel * taps + tap] = static_cast<int8_t>(weight);
    }
  }
}

}  // namespace hussar::cpu
