// Convolution in groups of few channels in FP32: channels last, one or two spatial dimensions, any kernel, stride,
// dilation, padding.
//
// args: as for tile.h's convolution, without depth and without gaps behind the lines. filter: the panels of matrices
// whose k = (tap, channel of the group); one for every group where that fills them well (grouped_by_group), else one
// for all filters. Shares as in tile.h: rows of output pixels and panels of filters; the result does not depend on the
// share count. scratch: grouped_scratch_floats(args) per share, aligned to 64 bytes.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar::cpu {

// Windows and groups beyond this are refused: they would not fit the caches.
constexpr int64_t kMostReachY = 64;
constexpr int64_t kMostReachX = 1024;
constexpr int64_t kMostGroupChannels = 64;

// Whether every group has panels of its own.
constexpr bool grouped_by_group(int64_t filters) {
  return (filters + kPanelColumns - 1) / kPanelColumns * kPanelColumns * 3 <= filters * 4;
}
// The panels of all groups.
constexpr int64_t grouped_panels(int64_t groups, int64_t filters) {
  return grouped_by_group(filters) ? groups * panel_count(filters) : panel_count(groups * filters);
}

// Input pixels from the first tap of an axis to behind the last.
constexpr int64_t reach_of(const ConvArgs& args, int axis) { return (args.kernel[axis] - 1) * args.dilation[axis] + 1; }

// Scratch memory holds a ring of input lines: those under one output row and those that the next row needs beside them.
constexpr int64_t grouped_new_lines(const ConvArgs& args) {
  return args.stride[1] < reach_of(args, 1) ? args.stride[1] : reach_of(args, 1);
}
constexpr int64_t grouped_lines(const ConvArgs& args) { return reach_of(args, 1) + grouped_new_lines(args); }

// Output pixels of a row at a time: so many that the input lines stay in an L1 cache of 32 KB.
constexpr int64_t grouped_columns(const ConvArgs& args) {
  constexpr int64_t kLines = 24 * 1024 / sizeof(float), kLeast = 14, kVector = 8;
  const int64_t width = args.out[2], floats = args.channels * (grouped_by_group(args.filters) ? 1 : kVector);
  const int64_t room = kLines / (floats * grouped_lines(args)) - reach_of(args, 2);
  int64_t columns = room < 0 ? 0 : room / args.stride[2] + 1;
  if (columns < kLeast) columns = kLeast;
  const int64_t blocks = (width + columns - 1) / columns;
  return blocks > 0 ? (width + blocks - 1) / blocks : 1;
}

constexpr int64_t grouped_scratch_floats(const ConvArgs& args) {
  const int64_t pixels = (grouped_columns(args) - 1) * args.stride[2] + reach_of(args, 2);
  // Of the widest vectors; with one line more, to sort channels in; whole vectors are written at the end of a line.
  const int64_t floats = args.channels * (grouped_by_group(args.filters) ? 1 : kPanelColumns);
  const int64_t total = (grouped_lines(args) + 1) * (pixels * floats + kPanelColumns);
  return (total + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
}

struct GroupedTable {
  void (*conv)(const ConvArgs& args, Share share, float* scratch);
};

HUSSAR_DECLARE_PER_ISA(GroupedTable, grouped_table)

}  // namespace hussar::cpu
