// Packing for the matrix unit, and the geometry that its kernels and their callers agree on.
#include "backends/cpu/matrix_packing.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "backends/cpu/kernels/amx/matrix_product.h"
#include "backends/cpu/matrix_steps.h"

namespace hussar::cpu {
namespace {

// To nearest even; a number too large for bf16 becomes infinity, NaN stays NaN.
uint16_t to_bfloat16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float from_bfloat16(uint16_t x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }

// A band's images take about this much of the L2 cache, its sums for one pair of panels at most 1024 rows.
constexpr int64_t kImageBytes = 1 << 20;
constexpr int64_t kSumRows = 1024;

}  // namespace

void pack_matrix_weights(const float* b, int64_t taps, int64_t channels, int64_t filters, int64_t row_stride,
                         int64_t column_stride, int64_t parts, uint16_t* out) {
  const int64_t panels = panel_count(filters), padded = matrix_channels(channels);
  const int64_t steps = taps * padded / kMatrixDepth, panel_elements = parts * kMatrixElements;
  std::fill_n(out, matrix_weight_elements(taps, channels, filters, parts), uint16_t{0});
  for (int64_t column = 0; column < filters; ++column) {
    const int64_t panel = column / kPanelColumns, pair = panel / 2, in_pair = std::min<int64_t>(panels - pair * 2, 2);
    uint16_t* const base = out + pair * 2 * steps * panel_elements + panel % 2 * panel_elements;
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t channel = 0; channel < channels; ++channel) {
        const int64_t k = tap * padded + channel;
        const float x = b[(tap * channels + channel) * row_stride + column * column_stride];
        uint16_t* const tile = base + k / kMatrixDepth * in_pair * panel_elements;
        const int64_t at = k % kMatrixDepth / 2 * 32 + column % kPanelColumns * 2 + k % 2;
        tile[at] = to_bfloat16(x);
        if (parts > 1) tile[kMatrixElements + at] = to_bfloat16(x - from_bfloat16(tile[at]));
      }
    }
  }
}

std::vector<float> decode_matrix_weights(const Tensor& packed) {
  const auto* tile = packed.data<uint16_t>();
  std::vector<float> sums(static_cast<size_t>(packed.elements() / 2));
  for (size_t i = 0; i < sums.size(); ++i) {
    if (i > 0 && i % kMatrixElements == 0) tile += 2 * kMatrixElements;
    const float high = from_bfloat16(tile[i % kMatrixElements]);
    const float low = from_bfloat16(tile[kMatrixElements + i % kMatrixElements]);
    // The rest of what is too large is no number; adding nothing would take the sign of a negative zero.
    sums[i] = low == 0 || !std::isfinite(high) ? high : high + low;
  }
  return sums;
}

MatrixGeometry matrix_geometry(const ConvArgs& conv, int64_t parts) {
  MatrixGeometry geometry{};
  geometry.parts = parts;
  geometry.taps = conv.kernel[1] * conv.kernel[2];
  geometry.channels = matrix_channels(conv.channels);
  geometry.steps = geometry.taps * geometry.channels / kMatrixDepth;
  geometry.flat = true;
  for (int axis : {1, 2}) {
    geometry.flat = geometry.flat && conv.kernel[axis] == 1 && conv.stride[axis] == 1 && conv.pad[axis] == 0 &&
                    conv.in[axis] == conv.out[axis];
    geometry.phases[axis - 1] = std::min(conv.stride[axis], conv.kernel[axis]);
  }
  if (geometry.flat) {
    geometry.images = 1;
    geometry.pixels = conv.batch * conv.out[1] * conv.out[2];
    geometry.width = geometry.image_width = 16;
    geometry.lines = (geometry.pixels + 15) / 16;
  } else {
    geometry.images = conv.batch;
    geometry.lines = conv.out[1];
    geometry.width = conv.out[2];
    geometry.pixels = conv.out[1] * conv.out[2];
    geometry.more_lines = (conv.kernel[1] - 1) * conv.dilation[1] / conv.stride[1];
    geometry.image_width = geometry.width + (conv.kernel[2] - 1) * conv.dilation[2] / conv.stride[2];
  }
  const int64_t line_bytes =
      geometry.phases[0] * geometry.phases[1] * geometry.image_width * geometry.channels * 2 * parts;
  const int64_t fit = kImageBytes / line_bytes - geometry.more_lines;
  geometry.band_lines = std::max<int64_t>(std::min(fit, kSumRows / geometry.image_width), 1);
  return geometry;
}

int64_t matrix_scratch_bytes(const ConvArgs& conv, int64_t parts) {
  const MatrixGeometry geometry = matrix_geometry(conv, parts);
  const int64_t lines = std::min(geometry.band_lines, std::max<int64_t>(geometry.lines, 1));
  const int64_t image = matrix_image_pixels(geometry, lines) * geometry.channels * 2 * parts;
  const int64_t row_tiles = (lines * geometry.image_width + 31) / 32 * 2;
  const int64_t offsets = (geometry.steps * 8 + 63) / 64 * 64;
  return geometry.phases[0] * geometry.phases[1] * image + row_tiles * 16 * 32 * 4 + offsets;
}

}  // namespace hussar::cpu
