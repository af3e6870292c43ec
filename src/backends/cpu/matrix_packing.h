// The packed weights of the matrix unit's kernels, and how their work is cut into pieces.
//
// Panels of 16 columns go in pairs (the last may be alone). For every pair and every step of 32 along k: per panel the
// high parts, then the low parts, each [16 pairs of k][16 columns][2]. k runs over (tap, channel), with the channels of
// each tap padded to a multiple of 32 by zeros.
#pragma once
#include <stdint.h>

#include "backends/cpu/kernels/tile/tile.h"

namespace hussar::cpu {

constexpr int64_t kMatrixDepth = 32;      // channels in a step
constexpr int64_t kMatrixElements = 512;  // bf16 in a tile register
constexpr int64_t matrix_channels(int64_t channels) {
  return (channels + kMatrixDepth - 1) / kMatrixDepth * kMatrixDepth;
}
// bf16 elements of the weights of one group.
constexpr int64_t matrix_weight_elements(int64_t taps, int64_t channels, int64_t filters, int64_t parts) {
  return panel_count(filters) * taps * matrix_channels(channels) * kPanelColumns * parts;
}

// Splits and packs one group's weights, element (k, column) at b[k * row_stride + column * column_stride] where
// k = tap * channels + channel.
void pack_matrix_weights(const float* b, int64_t taps, int64_t channels, int64_t filters, int64_t row_stride,
                         int64_t column_stride, int64_t parts, uint16_t* out);

// The image that rows of A are loaded from, for a band of output lines.
struct MatrixGeometry {
  bool flat;             // every output pixel is a product of one input pixel: all pixels are one line, cut into 16s
  int64_t images;        // 1 when flat
  int64_t lines, width;  // of output; a flat line has 16 pixels
  int64_t pixels;        // in all lines: less than lines * width when flat and the last line is not full
  int64_t phases[2];     // images per axis: the residues of the taps' positions modulo the stride that occur
  int64_t more_lines;    // beyond the band's own
  int64_t image_width;   // pixels of a line of an image
  int64_t channels;      // padded
  int64_t parts;         // of a number
  int64_t taps;
  int64_t steps;       // of k
  int64_t band_lines;  // the most lines in a band
};
MatrixGeometry matrix_geometry(const ConvArgs& conv, int64_t parts);
// Pixels of one phase's image for `lines` lines, with what the last tile reads beyond.
constexpr int64_t matrix_image_pixels(const MatrixGeometry& geometry, int64_t lines) {
  return (lines + geometry.more_lines) * geometry.image_width + 16;
}

}  // namespace hussar::cpu
