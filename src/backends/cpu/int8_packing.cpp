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

// Where tap (row, column) of a channel of its block lies.
static int64_t depthwise_tap(int64_t row, int64_t column, int64_t columns, int64_t channel) {
  const int64_t place = (row / kInt8DepthwiseTaps * columns + column) * kInt8Columns + channel;
  return place * kInt8DepthwiseTaps + row % kInt8DepthwiseTaps;
}

void pack_int8_depthwise(const int8_t* weights, int64_t channels, int64_t rows, int64_t columns, int8_t* out) {
  const int64_t block_bytes = int8_depthwise_block_bytes(rows, columns);
  std::memset(out, 0, static_cast<size_t>(int8_depthwise_bytes(channels, rows, columns)));
  for (int64_t channel = 0; channel < channels; ++channel) {
    int8_t* const block = out + channel / kInt8Columns * block_bytes;
    int32_t sum = 0;
    for (int64_t tap = 0; tap < rows * columns; ++tap) {
      const int8_t weight = weights[channel * rows * columns + tap];
      block[depthwise_tap(tap / columns, tap % columns, columns, channel % kInt8Columns)] = weight;
      sum += weight;
    }
    std::memcpy(block + block_bytes + (channel % kInt8Columns - kInt8Columns) * 4, &sum, 4);
  }
}

void unpack_int8_depthwise(const int8_t* packed, int64_t channels, int64_t rows, int64_t columns, int8_t* weights) {
  for (int64_t channel = 0; channel < channels; ++channel) {
    const int8_t* const block = packed + channel / kInt8Columns * int8_depthwise_block_bytes(rows, columns);
    for (int64_t tap = 0; tap < rows * columns; ++tap) {
      weights[channel * rows * columns + tap] =
          block[depthwise_tap(tap / columns, tap % columns, columns, channel % kInt8Columns)];
    }
  }
}

}  // namespace hussar::cpu
