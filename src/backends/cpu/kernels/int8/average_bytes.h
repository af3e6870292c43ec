// Sums of bytes over the pixels of an image.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

struct AverageTable {
  // sums[c] = the sum of x[i * pitch + c] over i < pixels, of which there are kAveragePixels at most.
  void (*sum_pixels)(const uint8_t* x, int64_t pixels, int64_t pitch, int64_t channels, int32_t* sums);
};
constexpr int64_t kAveragePixels = 1 << 20;

HUSSAR_DECLARE_PER_ISA(AverageTable, average_table)

}  // namespace hussar::cpu
