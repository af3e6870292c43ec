// 2:4 masks of weights in FP8 (float8e4m3fn).
#pragma once
#include "tensor/shared_mask.h"

namespace hussar {

// As far as it matters here whether it is zero, of either sign.
struct Float8 {
  uint8_t bits = 0;
  bool operator==(const Float8& other) const { return bits == other.bits || ((bits | other.bits) & 0x7f) == 0; }
};

SharedMask find_shared_mask(const MatrixView<const Float8>& weights);
bool is_two_of_four(const MatrixView<const Float8>& weights);

}  // namespace hussar
