// Which taps of a kernel axis meet the input. For *.simd.cpp files only.
#pragma once
#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// The part [low, high) of a kernel axis that falls inside the input, for taps at start + tap * dilation.
struct Taps {
  int64_t low;
  int64_t high;
};

HUSSAR_INLINE Taps taps_inside(int64_t start, int64_t size, int64_t taps, int64_t dilation) {
  Taps inside = {0, taps};
  if (start < 0) inside.low = (-start + dilation - 1) / dilation;
  if (start + (taps - 1) * dilation >= size) inside.high = start >= size ? 0 : (size - start + dilation - 1) / dilation;
  if (inside.low > inside.high) inside.low = inside.high;
  return inside;
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
