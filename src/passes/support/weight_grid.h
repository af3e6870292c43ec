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

// A number is (q + offset) * scale, where q is from -128 to 127.
struct WeightGrid {
  float scale = 1;
  int32_t offset = 0;
};

// The scale for which all numbers are integers times it, up to the rounding of a few operations, and span 256 integers
// at most: of all such scales the largest, with the offset nearest to 0. What such a line is multiplied with as
// integers has the exact result. nullopt: there is none, as for most weights that have not been quantized.
std::optional<WeightGrid> grid_of(const NumberLine& line);

}  // namespace hussar
