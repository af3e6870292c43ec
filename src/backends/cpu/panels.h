// The packed form of the right-hand matrix of a product: panels of 16 columns, [ceil(n / 16)][k][16], zero padded.
// The form does not depend on the instruction set level, so that a plan's weights run anywhere.
#pragma once
#include <stdint.h>

namespace hussar::cpu {

constexpr int64_t kPanelColumns = 16;

constexpr int64_t panel_count(int64_t n) { return (n + kPanelColumns - 1) / kPanelColumns; }
constexpr int64_t panel_floats(int64_t k, int64_t n) { return panel_count(n) * k * kPanelColumns; }

// Packs b (k x n), element (row, column) at b[row * row_stride + column * column_stride]; out: panel_floats(k, n).
void pack_panels(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride, float* out);

// Packs a convolution filter in ONNX order [groups * filters][channels][taps] into the panels of every group,
// k = (tap, channel); out: groups * panel_floats(taps * channels, filters).
void pack_conv_filter(const float* filter, int64_t groups, int64_t filters, int64_t channels, int64_t taps, float* out);

// The taps of one axis of a transposed convolution that reach the output positions o with (o + pad) % stride == phase.
// They form an ordinary convolution of stride 1 over the input: the window of position o starts at input
// (o + pad) / stride + start and has `count` taps, `dilation` apart; its first tap is `last` of the filter, the
// following ones lie `step` lower each.
struct TransposePhase {
  int64_t count;
  int64_t last;
  int64_t step;
  int64_t start;
  int64_t dilation;
};
TransposePhase transpose_phase(int64_t phase, int64_t kernel, int64_t stride, int64_t dilation);

// Packs a transposed convolution's filter in ONNX order [groups * channels][filters][kernel z, y, x]: for every group
// and every phase (z, y, x) of the stride the panels of its taps, k = (tap of the phase, channel).
// out: groups * panel_floats(taps * channels, filters).
void pack_conv_transpose_filter(const float* filter, int64_t groups, int64_t filters, int64_t channels,
                                const int64_t kernel[3], const int64_t stride[3], const int64_t dilation[3],
                                float* out);

// Scratch of one share of a product or convolution whose sum runs over k elements.
int64_t tile_scratch_bytes(int64_t k);

}  // namespace hussar::cpu
