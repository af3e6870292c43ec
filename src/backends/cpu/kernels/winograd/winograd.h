// Winograd convolution F(output x output, 3 x 3) in FP32: an input tile of output + 2 pixels squared is transformed, at
// every position of the tile the channels are one row of a matrix product with the transformed filter, and the sums are
// transformed back to output x output pixels. That takes ((output + 2) / 3 / output)^2 of the direct multiplications.
//
// The filter is [panel of 16 filters][position][channel][16] floats, zero padded, transformed by
// transform_winograd_filter; the same for every instruction set level. Everything else is as in tile.h: ConvArgs (two
// spatial dimensions, kernel 3 x 3, stride, dilation and groups 1), the epilogue, shares that do not change the result.
// A NaN or an infinity in the input reaches all outputs of the tiles that read it.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"
#include "backends/cpu/kernels/tile/tile_limits.h"

namespace hussar::cpu {

struct WinogradArgs {
  ConvArgs conv;
  int64_t output = 4;  // 2 or 4
};

constexpr int64_t winograd_positions(int64_t output) { return (output + 2) * (output + 2); }
constexpr int64_t winograd_filter_floats(int64_t output, int64_t channels, int64_t filters) {
  return winograd_positions(output) * panel_floats(channels, filters);
}
// Tiles that cover one axis.
constexpr int64_t winograd_tiles(int64_t output, int64_t pixels) { return (pixels + output - 1) / output; }

// filter in ONNX order [filters][channels][3][3]; computed in double. out: winograd_filter_floats.
void transform_winograd_filter(const float* filter, int64_t output, int64_t filters, int64_t channels, float* out);
// The inverse, but for rounding.
void restore_winograd_filter(const float* packed, int64_t output, int64_t filters, int64_t channels, float* filter);

// Transformed tiles and, at the other end, sums of all positions are kept for a block of tiles and a group of panels.
// Together they take about half of an L2 cache of 1 MB; the other half is for the filter that passes by.
constexpr int64_t kWinogradInputFloats = 96 * 1024;
constexpr int64_t kWinogradSumFloats = 40 * 1024;
// Tiles of one line whose output passes through a buffer together, where it cannot go straight to its place.
constexpr int64_t kWinogradRun = 8;

struct WinogradBlock {
  int64_t tiles;
  int64_t panels;
};

constexpr int64_t winograd_clamp(int64_t value, int64_t low, int64_t high) {
  return value > high ? high : value < low ? low : value;
}

constexpr WinogradBlock winograd_block(int64_t output, int64_t channels, int64_t filters, int64_t tiles) {
  const int64_t positions = winograd_positions(output);
  const int64_t tile_floats = positions * ((channels + kTileChunk - 1) / kTileChunk * kTileChunk);
  // Fewer rows than a register tile has would read the filter once more for nothing.
  const int64_t wanted = winograd_clamp(kWinogradInputFloats / tile_floats, kTileRowsLimit, 8 * kTileRowsLimit);
  const int64_t block = winograd_clamp(tiles, 1, wanted);
  const int64_t fit = kWinogradSumFloats / (positions * block * kPanelColumns) / 2 * 2;
  return {block, winograd_clamp(fit < 2 ? 2 : fit, 1, panel_count(filters))};
}

// Scratch of one share.
constexpr int64_t winograd_scratch_floats(int64_t output, int64_t channels, int64_t filters, int64_t tiles) {
  const WinogradBlock block = winograd_block(output, channels, filters, tiles);
  const int64_t positions = winograd_positions(output), chunks = (channels + kTileChunk - 1) / kTileChunk;
  const int64_t inputs = positions * (block.tiles * chunks + block.tiles) * kTileChunk;
  const int64_t sums = block.tiles * (positions * block.panels + 1) * kPanelColumns;
  return inputs + sums + output * output * kWinogradRun * block.panels * kPanelColumns;
}

struct WinogradTable {
  void (*conv)(const WinogradArgs& args, Share share, void* scratch);
};

HUSSAR_DECLARE_PER_ISA(WinogradTable, winograd_table)

}  // namespace hussar::cpu
