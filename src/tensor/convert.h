// Conversions between element types and the four types that reference evaluators compute in.
//
// Reference code computes floating types of at most 32 bits as float, float64 as double, signed integers as int64_t,
// unsigned integers and bool as uint64_t. Conversions to a float type round to nearest, ties to even; conversions to a
// narrower integer wrap; float to integer truncates and clamps to the range (NaN becomes 0); bool is value != 0.
#pragma once
#include <cstdint>
#include <vector>

#include "hussar/tensor.h"

namespace hussar {

float half_to_float(uint16_t bits);
uint16_t float_to_half(float value);
float bfloat16_to_float(uint16_t bits);
uint16_t float_to_bfloat16(float value);
// float16 or bfloat16, in which an FP16 or a BF16 plan keeps its numbers.
constexpr bool is_half(DType dtype) { return dtype == DType::kFloat16 || dtype == DType::kBFloat16; }
// The types of at most 8 bits: float8e4m3fn, float8e4m3fnuz, float8e5m2, float8e5m2fnuz, float8e8m0, float4e2m1.
float small_float_to_float(uint8_t bits, DType dtype);
// saturate: out-of-range values (infinities included) become the largest finite value instead of inf / NaN.
uint8_t float_to_small_float(float value, DType dtype, bool saturate);

// Converts `count` elements starting at element `first`. T is float, double, int64_t or uint64_t.
template <class T>
void load_elements(const Tensor& tensor, int64_t first, int64_t count, T* out);
template <class T>
void store_elements(Tensor& tensor, int64_t first, int64_t count, const T* values);
std::vector<double> to_doubles(const Tensor& tensor);

// A tensor of another element type, by way of float32.
Tensor converted(const Tensor& tensor, DType dtype);

// The compute type of a dtype, as a tag: 'f' float, 'd' double, 'i' int64_t, 'u' uint64_t, '-' none.
char compute_type(DType dtype);

}  // namespace hussar
