// How hussar.QuantizeHeads reads its operands, and the scales that it finds.
#pragma once
#include <cmath>
#include <cstdint>

#include "tensor/attributes.h"

namespace hussar {

inline constexpr int64_t kHeadZeroPoint = 128;

// The columns of operand 0 (queries), 1 (keys) or 2 (values), `group` of which share a scale.
struct HeadColumns {
  int64_t heads, width, group, offset;
  int64_t count() const { return heads * width; }
  int64_t scales() const { return count() / group; }
};

inline HeadColumns head_columns(const Attributes& attributes, size_t operand) {
  constexpr const char* kOffsets[] = {"q_offset", "k_offset", "v_offset"};
  const int64_t heads = attributes.get_int("heads", 1), kv_heads = attributes.get_int("kv_heads", heads);
  const int64_t dim = attributes.get_int("head_dim", 1), v_dim = attributes.get_int("v_head_dim", dim);
  const int64_t width = operand == 2 ? v_dim : dim;
  return {operand == 0 ? heads : kv_heads, width, operand == 2 ? 1 : width, attributes.get_int(kOffsets[operand], 0)};
}

// For numbers up to this magnitude.
inline float head_scale(float largest) {
  if (largest < 1e-20F) return 1;
  return largest <= 1e20F ? largest / 127 : NAN;
}

}  // namespace hussar
