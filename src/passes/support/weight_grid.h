// Weights that a model has dequantized, as the integers that they are.
#pragma once
#include <cstdint>
#include <optional>

namespace hussar {

// Some numbers of a tensor, `stride` elements apart.
struct NumberLine {
  const float* data;
  int64_t count, stride;
  float operator[](int64_t i) const { return data[i * stride]; }
};

// The scale s for which all numbers are integers from -128 to 127 times s, up to the rounding of a few operations:
// of all such scales the largest. What such a line is multiplied with as integers has the exact result. nullopt: there
// is none, as for most weights that have not been quantized.
std::optional<float> grid_of(const NumberLine& line);

}  // namespace hussar
