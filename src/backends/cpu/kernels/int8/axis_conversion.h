// Conversions between real numbers and integers of 8 or 16 bits, with a scale and a zero point for all or one for each
// element.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

// A step of 0: all have the first one.
struct ScaleLine {
  const float* scales;
  const int32_t* zero_points;
  int64_t step;
};

struct AxisConversionTable {
  // saturate(round(x / scale) + zero_point), ties to even; NaN gives the lowest. By uint8, int8, uint16 and int16.
  void (*quantize[4])(const float* x, void* y, int64_t count, const ScaleLine& line);
  // (x - zero_point) * scale
  void (*dequantize[4])(const void* x, float* y, int64_t count, const ScaleLine& line);
};
HUSSAR_DECLARE_PER_ISA(AxisConversionTable, axis_conversion_table)

}  // namespace hussar::cpu
