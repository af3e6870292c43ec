// QuantParams: how integers stand for real numbers.
#pragma once
#include <cstdint>

#include "hussar/tensor.h"

namespace hussar {

// real = (q - zero_point) * scale
struct QuantParams {
  float scale = 1;
  int32_t zero_point = 0;
  DType dtype = DType::kUInt8;
};

}  // namespace hussar
