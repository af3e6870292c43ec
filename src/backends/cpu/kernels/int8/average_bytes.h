// Sums of bytes over the pixels of an image or of a window.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

// The taps of a window that lie inside of the input: `counts` along three axes, `steps` bytes apart, from `first` on.
struct ByteWindow {
  const uint8_t* first;
  int64_t counts[3], steps[3];
  int32_t start;  // what the sum begins with
  float factor;
};
// Where means go: to bytes, as QuantizeLinear makes them, or to real numbers.
struct MeanTarget {
  uint8_t* bytes;
  float* reals;
  float scale;
  int32_t zero_point;
};

struct AverageTable {
  // sums[c] = the sum of x[i * pitch + c] over i < pixels, of which there are kAveragePixels at most.
  void (*sum_pixels)(const uint8_t* x, int64_t pixels, int64_t pitch, int64_t channels, int32_t* sums);
  // factor * (start + the sum of the taps), of every channel. There are kAveragePixels taps at most.
  void (*average_window)(const ByteWindow& window, int64_t channels, const MeanTarget& target);
};
constexpr int64_t kAveragePixels = 1 << 20;

HUSSAR_DECLARE_PER_ISA(AverageTable, average_table)

}  // namespace hussar::cpu
