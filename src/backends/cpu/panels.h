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

// Scratch of one share of a product or convolution whose sum runs over k elements.
int64_t tile_scratch_bytes(int64_t k);

}  // namespace hussar::cpu
