// QuantParams: how bytes stand for real numbers.
#pragma once
#include <cstdint>

#include "hussar/tensor.h"

namespace hussar {

// Of values: integers, or numbers of FP8, whose zero point is 0.
inline bool is_quantized(DType dtype) { return dtype == DType::kUInt8 || dtype == DType::kFloat8E4M3FN; }
inline constexpr DType kFp8 = DType::kFloat8E4M3FN;
inline constexpr float kLargestFp8 = 448;

// real = (q - zero_point) * scale
struct QuantParams {
  float scale = 1;
  int32_t zero_point = 0;
  DType dtype = DType::kUInt8;
};

// The sum of more products of uint8 and int8 could overflow 32 bits.
inline constexpr int64_t kQuantizedDepth = 65536;

}  // namespace hussar
