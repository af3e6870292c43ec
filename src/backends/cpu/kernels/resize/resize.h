// Interpolation of images over height and width.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

constexpr int kResizeTaps = 4;

// The input positions along one axis whose weighted sum is one output position.
struct ResizeTap {
  int32_t index[kResizeTaps];
  float weight[kResizeTaps];
};

struct ResizeArgs {
  const void* input;
  void* output;
  int64_t channels;  // of channels-last tensors; the planes of plain ones are images of their own
  int64_t in_height, in_width, out_height, out_width;
  int64_t input_pitch, output_pitch;  // channels-last: elements from pixel to pixel
  const ResizeTap* rows;              // [out_height]
  const ResizeTap* columns;           // [out_width]
  int32_t row_taps, column_taps;      // how many of each are in use
  int32_t element_size;               // 1, 2, 4 or 8
};

// All functions write the output rows [begin, end) of images * out_height.
struct ResizeTable {
  // Weighted sums of floats.
  void (*pixels)(const ResizeArgs& args, int64_t begin, int64_t end);               // channels-last
  void (*planes)(const ResizeArgs& args, float* line, int64_t begin, int64_t end);  // plain; line: in_width floats
  // Copies of the first tap, of elements of any size.
  void (*nearest_pixels)(const ResizeArgs& args, int64_t begin, int64_t end);
  void (*nearest_planes)(const ResizeArgs& args, int64_t begin, int64_t end);
};

HUSSAR_DECLARE_PER_ISA(ResizeTable, resize_table)

}  // namespace hussar::cpu
