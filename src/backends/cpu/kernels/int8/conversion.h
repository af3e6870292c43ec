// Conversions between real numbers and bytes. Signed bytes are unsigned ones whose zero point is moved by 128 and which
// are changed by an exclusive or: `flip` is 0x80 for them, and 0 for others.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

struct ConversionTable {
  // saturate(round(x / scale) + zero_point), ties to even; NaN gives 0.
  void (*quantize)(const float* x, uint8_t* y, int64_t count, float scale, int32_t zero_point, uint8_t flip);
  // (x - zero_point) * scale
  void (*dequantize)(const uint8_t* x, float* y, int64_t count, float scale, int32_t zero_point, uint8_t flip);
};

HUSSAR_DECLARE_PER_ISA(ConversionTable, conversion_table)

}  // namespace hussar::cpu
