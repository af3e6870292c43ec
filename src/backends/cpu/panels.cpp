#include "backends/cpu/panels.h"

#include <algorithm>
#include <numeric>

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

TransposePhase transpose_phase(int64_t phase, int64_t kernel, int64_t stride, int64_t dilation) {
  const int64_t step = stride / std::gcd(stride, dilation);
  TransposePhase result = {0, 0, step, 0, step * dilation / stride};
  int64_t first = 0;
  while (first < step && first * dilation % stride != phase) ++first;
  if (first == step || first >= kernel) return result;
  result.count = (kernel - 1 - first) / step + 1;
  result.last = first + (result.count - 1) * step;
  result.start = (phase - result.last * dilation) / stride;
  return result;
}

namespace {

struct TransposeFilter {
  const float* data;  // of one group: [channels][filters][kernel]
  int64_t filters;
  int64_t channels;
  const int64_t* kernel;
};

// The panels of one phase; returns the end of what it wrote.
float* pack_phase(const TransposeFilter& filter, const TransposePhase (&phase)[3], float* out) {
  const int64_t* kernel = filter.kernel;
  const int64_t taps = kernel[0] * kernel[1] * kernel[2];
  const int64_t phase_taps = phase[0].count * phase[1].count * phase[2].count;
  for (int64_t first = 0; first < filter.filters; first += kPanelColumns) {
    for (int64_t i = 0; i < phase_taps; ++i) {
      const int64_t z = phase[0].last - i / (phase[2].count * phase[1].count) * phase[0].step;
      const int64_t y = phase[1].last - i / phase[2].count % phase[1].count * phase[1].step;
      const int64_t x = phase[2].last - i % phase[2].count * phase[2].step;
      const int64_t tap = (z * kernel[1] + y) * kernel[2] + x;
      for (int64_t channel = 0; channel < filter.channels; ++channel) {
        for (int64_t column = first; column < first + kPanelColumns; ++column) {
          *out++ = column < filter.filters ? filter.data[(channel * filter.filters + column) * taps + tap] : 0.0f;
        }
      }
    }
  }
  return out;
}

}  // namespace

void pack_conv_transpose_filter(const float* filter, int64_t groups, int64_t filters, int64_t channels,
                                const int64_t kernel[3], const int64_t stride[3], const int64_t dilation[3],
                                float* out) {
  const int64_t taps = kernel[0] * kernel[1] * kernel[2];
  for (int64_t group = 0; group < groups; ++group) {
    const TransposeFilter source = {filter + group * channels * filters * taps, filters, channels, kernel};
    for (int64_t z = 0; z < stride[0]; ++z) {
      for (int64_t y = 0; y < stride[1]; ++y) {
        for (int64_t x = 0; x < stride[2]; ++x) {
          const TransposePhase phase[3] = {transpose_phase(z, kernel[0], stride[0], dilation[0]),
                                           transpose_phase(y, kernel[1], stride[1], dilation[1]),
                                           transpose_phase(x, kernel[2], stride[2], dilation[2])};
          out = pack_phase(source, phase, out);
        }
      }
    }
  }
}

int64_t tile_scratch_bytes(int64_t k) {
  const int64_t padded = (k + kTileChunk - 1) / kTileChunk * kTileChunk;
  const int64_t tile = kTileRowsLimit * padded;
  return (std::max(tile, kBlockFloats) + all_lines_floats(k)) * static_cast<int64_t>(sizeof(float));
}

}  // namespace hussar::cpu
