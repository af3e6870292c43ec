#include "backends/cpu/panels.h"

#include <algorithm>

#include "backends/cpu/kernels/tile/tile_limits.h"

namespace hussar::cpu {

void pack_panels(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride, float* out) {
  for (int64_t first = 0; first < n; first += kPanelColumns) {
    const int64_t columns = std::min(kPanelColumns, n - first);
    for (int64_t row = 0; row < k; ++row) {
      const float* source = b + row * row_stride + first * column_stride;
      for (int64_t column = 0; column < kPanelColumns; ++column) {
        *out++ = column < columns ? source[column * column_stride] : 0.0f;
      }
    }
  }
}

void pack_conv_filter(const float* filter, int64_t groups, int64_t filters, int64_t channels, int64_t taps,
                      float* out) {
  const int64_t k = taps * channels;
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t first = 0; first < filters; first += kPanelColumns) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        for (int64_t channel = 0; channel < channels; ++channel) {
          const float* source = filter + (group * filters + first) * k + channel * taps + tap;
          for (int64_t column = 0; column < kPanelColumns; ++column) {
            *out++ = first + column < filters ? source[column * k] : 0.0f;
          }
        }
      }
    }
  }
}

int64_t tile_scratch_bytes(int64_t k) {
  const int64_t padded = (k + kTileChunk - 1) / kTileChunk * kTileChunk;
  const int64_t tile = kTileRowsLimit * padded;
  return (std::max(tile, kBlockFloats) + padded) * static_cast<int64_t>(sizeof(float));
}

}  // namespace hussar::cpu
