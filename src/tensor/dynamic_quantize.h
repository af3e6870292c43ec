// Quantization with a scale and a zero point that only running the model tells.
#pragma once
#include <algorithm>
#include <cmath>

#include <optional>

#include "tensor/program.h"
#include "tensor/quant_params.h"

namespace hussar {

// Of DynamicQuantizeLinear, for elements between these, of which the range is widened to contain 0.
inline QuantParams dynamic_params(float lowest, float highest) {
  lowest = std::min(0.0F, lowest);
  highest = std::max(0.0F, highest);
  QuantParams params;
  params.scale = highest == lowest ? 1 : (highest - lowest) / 255;
  const float zero_point = std::nearbyint(0 - lowest / params.scale);
  params.zero_point = zero_point > 0 ? static_cast<int32_t>(std::min(zero_point, 255.0F)) : 0;
  return params;
}

// Whether inputs 4 and 5 of a hussar.QuantizedConv or hussar.QuantizedMatMul are scale and zero point of input 0:
// whether it has so many besides the operands of its program.
inline bool has_dynamic_scale(const std::optional<Program>& program, int32_t program_inputs, size_t inputs) {
  return (program ? static_cast<size_t>(program_inputs) : inputs) > 4;
}

}  // namespace hussar
