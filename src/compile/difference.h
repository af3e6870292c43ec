// How far two tensors that should be equal are apart.
#pragma once
#include <cstdint>
#include <string>

#include "hussar/tensor.h"

namespace hussar {

struct Difference {
  std::string incomparable;  // "shape 1x3 against 1x4"; empty when the figures below mean something
  int64_t elements = 0;
  double max_absolute = 0;
  double range = 0;              // of the reference: max - min of its finite elements
  double cosine = 1;             // 1: same direction; 1 when both are zero
  double sqnr_db = 0;            // signal to noise power in decibels; infinite when equal
  int64_t different = 0;         // elements that are not bit-equal in value (NaN equals NaN)
  int64_t non_finite_apart = 0;  // elements that are NaN or infinite in one tensor only, or infinite with another sign
  // Rows along the last axis and how many have their largest element at the same place; ties within 1e-3 of the range
  // count as agreement.
  int64_t rows = 0, rows_agreeing = 0;
  bool floating = true;

  // The figure that tolerances apply to. Floating types: max_absolute relative to the range (to the magnitude when the
  // range is 0). Other types: the share of elements that differ. Infinite when incomparable or not finite alike.
  double error() const;
  double relative() const;
};

Difference difference(const Tensor& reference, const Tensor& other);

}  // namespace hussar
