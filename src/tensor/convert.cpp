// Bit-level conversions of the small float types, and bulk conversion of tensors.
#include "tensor/convert.h"

#include <bit>
#include <cmath>
#include <limits>

namespace hussar {
namespace {

struct SmallFloat {
  int exponent_bits, mantissa_bits, bias;
  bool has_infinity;   // the all-ones exponent holds inf and NaN, as in IEEE 754
  bool unsigned_zero;  // "uz": the pattern of -0 is the only NaN
};

constexpr SmallFloat kE4M3FN{4, 3, 7, false, false};
constexpr SmallFloat kE4M3FNUZ{4, 3, 8, false, true};
constexpr SmallFloat kE5M2{5, 2, 15, true, false};
constexpr SmallFloat kE5M2FNUZ{5, 2, 16, false, true};
constexpr SmallFloat kE2M1{2, 1, 1, false, false};

const SmallFloat& small_float(DType dtype) {
  switch (dtype) {
    case DType::kFloat8E4M3FN: return kE4M3FN;
    case DType::kFloat8E4M3FNUZ: return kE4M3FNUZ;
    case DType::kFloat8E5M2: return kE5M2;
    case DType::kFloat8E5M2FNUZ: return kE5M2FNUZ;
    default: return kE2M1;
  }
}

// The largest finite magnitude's bit pattern.
int largest_bits(DType dtype, const SmallFloat& format) {
  int all = (1 << (format.exponent_bits + format.mantissa_bits)) - 1;
  if (dtype == DType::kFloat8E4M3FN) return all - 1;                  // 0x7F is NaN
  if (format.has_infinity) return all - (1 << format.mantissa_bits);  // below inf
  return all;
}

}  // namespace

float half_to_float(uint16_t bits) {
  uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  uint32_t exponent = (bits >> 10) & 0x1F;
  uint32_t mantissa = bits & 0x3FF;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000 | (mantissa << 13));
  if (exponent == 0) {
    float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

uint16_t float_to_half(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return sign | 0x7E00;
  if (magnitude >= 0x477FF000) return sign | 0x7C00;  // rounds to infinity
  if (magnitude < 0x38800000) {                       // subnormal half or zero: scale so that the unit is 2^-24
    float scaled = std::nearbyint(std::ldexp(std::bit_cast<float>(magnitude), 24));
    return sign | static_cast<uint16_t>(scaled);
  }
  uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
  return sign | static_cast<uint16_t>((rounded >> 13) - (112 << 10));
}

float bfloat16_to_float(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t float_to_bfloat16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

float small_float_to_float(uint8_t bits, DType dtype) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  if (dtype == DType::kFloat8E8M0) return bits == 0xFF ? kNan : std::ldexp(1.0F, static_cast<int>(bits) - 127);
  const SmallFloat& format = small_float(dtype);
  int width = format.exponent_bits + format.mantissa_bits;
  int magnitude = bits & ((1 << width) - 1);
  bool negative = ((bits >> width) & 1) != 0;
  if (format.unsigned_zero && negative && magnitude == 0) return kNan;
  if (dtype == DType::kFloat8E4M3FN && magnitude == 0x7F) return kNan;
  int exponent = magnitude >> format.mantissa_bits;
  int mantissa = magnitude & ((1 << format.mantissa_bits) - 1);
  if (format.has_infinity && exponent == (1 << format.exponent_bits) - 1) {
    if (mantissa != 0) return kNan;
    return negative ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity();
  }
  if (exponent > 0) mantissa |= 1 << format.mantissa_bits;
  float value = std::ldexp(static_cast<float>(mantissa), std::max(exponent, 1) - format.bias - format.mantissa_bits);
  return negative ? -value : value;
}

uint8_t float_to_small_float(float value, DType dtype, bool saturate) {
  if (dtype == DType::kFloat8E8M0) {
    if (std::isnan(value)) return 0xFF;
    // Powers of two only: round to the nearest exponent.
    float magnitude = std::fabs(value);
    if (magnitude == 0) return 0;
    if (std::isinf(magnitude)) return saturate ? 0xFE : 0xFF;
    int exponent = 0;
    float fraction = std::frexp(magnitude, &exponent);  // in [0.5, 1)
    int code = exponent - 1 + 127 + (fraction >= 0.75F ? 1 : 0);
    return static_cast<uint8_t>(std::clamp(code, 0, saturate ? 0xFE : 0xFF));
  }
  const SmallFloat& format = small_float(dtype);
  int width = format.exponent_bits + format.mantissa_bits;
  auto sign = static_cast<uint8_t>((std::signbit(value) ? 1 : 0) << width);
  int largest = largest_bits(dtype, format);
  bool is_e2m1 = dtype == DType::kFloat4E2M1;
  if (std::isnan(value)) {
    if (format.unsigned_zero) return static_cast<uint8_t>(1 << width);
    if (is_e2m1) return static_cast<uint8_t>(1 << width);  // no NaN to give: -0, as ONNX's reference does
    return sign | 0x7F;
  }
  float magnitude = std::fabs(value);
  float limit = small_float_to_float(static_cast<uint8_t>(largest), dtype);
  int exponent = 0;
  std::frexp(std::min(magnitude, limit), &exponent);
  int unit = std::max(exponent - 1, 1 - format.bias) - format.mantissa_bits;
  float rounded = std::isinf(magnitude) ? magnitude : std::ldexp(std::nearbyint(std::ldexp(magnitude, -unit)), unit);
  if (rounded > limit) {
    if (saturate || is_e2m1) return sign | static_cast<uint8_t>(largest);
    if (format.has_infinity) return sign | static_cast<uint8_t>(largest + 1);
    return format.unsigned_zero ? static_cast<uint8_t>(1 << width) : sign | 0x7F;
  }
  if (rounded == 0) return format.unsigned_zero ? 0 : sign;
  std::frexp(rounded, &exponent);
  int biased = exponent - 1 + format.bias;
  int bits = 0;
  if (biased <= 0) {
    bits = static_cast<int>(std::ldexp(rounded, format.bias - 1 + format.mantissa_bits));
  } else {
    float fraction = std::ldexp(rounded, format.mantissa_bits - (exponent - 1));
    bits = (biased << format.mantissa_bits) + static_cast<int>(fraction) - (1 << format.mantissa_bits);
  }
  return sign | static_cast<uint8_t>(bits);
}

char compute_type(DType dtype) {
  if (dtype == DType::kFloat64) return 'd';
  if (is_floating(dtype)) return 'f';
  if (is_signed_integer(dtype)) return 'i';
  if (is_unsigned_integer(dtype) || dtype == DType::kBool) return 'u';
  return '-';
}

namespace {

template <class To, class From>
To cast_element(From value) {
  if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (std::isnan(value)) return 0;
    if (value >= static_cast<From>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    if (value <= static_cast<From>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  }
  return static_cast<To>(value);
}

int64_t sign_extend(uint8_t value, int bits) { return static_cast<int8_t>(value << (8 - bits)) >> (8 - bits); }

template <class Stored, class T>
void load_as(const Tensor& tensor, int64_t first, int64_t count, T* out) {
  const Stored* in = tensor.data<Stored>() + first;
  for (int64_t i = 0; i < count; ++i) out[i] = cast_element<T>(in[i]);
}

template <class Stored, class T>
void store_as(Tensor& tensor, int64_t first, int64_t count, const T* values) {
  Stored* out = tensor.data<Stored>() + first;
  for (int64_t i = 0; i < count; ++i) {
    // Integers wrap; a floating value goes through the widest integer of the sign so that it clamps first.
    out[i] = cast_element<Stored>(values[i]);
  }
}

template <class T, class Decode>
void load_with(int64_t first, int64_t count, T* out, Decode decode) {
  for (int64_t i = 0; i < count; ++i) out[i] = cast_element<T>(decode(first + i));
}

}  // namespace

template <class T>
void load_elements(const Tensor& tensor, int64_t first, int64_t count, T* out) {
  const auto* words = tensor.data<uint16_t>();
  const auto* bytes = tensor.data<uint8_t>();
  switch (tensor.dtype()) {
    case DType::kFloat32: return load_as<float>(tensor, first, count, out);
    case DType::kFloat64: return load_as<double>(tensor, first, count, out);
    case DType::kInt8: return load_as<int8_t>(tensor, first, count, out);
    case DType::kInt16: return load_as<int16_t>(tensor, first, count, out);
    case DType::kInt32: return load_as<int32_t>(tensor, first, count, out);
    case DType::kInt64: return load_as<int64_t>(tensor, first, count, out);
    case DType::kUInt16: return load_as<uint16_t>(tensor, first, count, out);
    case DType::kUInt32: return load_as<uint32_t>(tensor, first, count, out);
    case DType::kUInt64: return load_as<uint64_t>(tensor, first, count, out);
    case DType::kUInt8:
    case DType::kUInt4:
    case DType::kUInt2:
    case DType::kBool: return load_as<uint8_t>(tensor, first, count, out);
    case DType::kInt4: return load_with(first, count, out, [&](int64_t i) { return sign_extend(bytes[i], 4); });
    case DType::kInt2: return load_with(first, count, out, [&](int64_t i) { return sign_extend(bytes[i], 2); });
    case DType::kFloat16: return load_with(first, count, out, [&](int64_t i) { return half_to_float(words[i]); });
    case DType::kBFloat16: return load_with(first, count, out, [&](int64_t i) { return bfloat16_to_float(words[i]); });
    default:
      return load_with(first, count, out, [&](int64_t i) { return small_float_to_float(bytes[i], tensor.dtype()); });
  }
}

template <class T>
void store_elements(Tensor& tensor, int64_t first, int64_t count, const T* values) {
  auto* words = tensor.data<uint16_t>() + first;
  auto* bytes = tensor.data<uint8_t>() + first;
  switch (tensor.dtype()) {
    case DType::kFloat32: return store_as<float>(tensor, first, count, values);
    case DType::kFloat64: return store_as<double>(tensor, first, count, values);
    case DType::kInt8: return store_as<int8_t>(tensor, first, count, values);
    case DType::kInt16: return store_as<int16_t>(tensor, first, count, values);
    case DType::kInt32: return store_as<int32_t>(tensor, first, count, values);
    case DType::kInt64: return store_as<int64_t>(tensor, first, count, values);
    case DType::kUInt8: return store_as<uint8_t>(tensor, first, count, values);
    case DType::kUInt16: return store_as<uint16_t>(tensor, first, count, values);
    case DType::kUInt32: return store_as<uint32_t>(tensor, first, count, values);
    case DType::kUInt64: return store_as<uint64_t>(tensor, first, count, values);
    default: break;
  }
  for (int64_t i = 0; i < count; ++i) {
    T value = values[i];
    switch (tensor.dtype()) {
      case DType::kBool: bytes[i] = value != T(0) ? 1 : 0; break;
      case DType::kInt4: bytes[i] = static_cast<uint8_t>(sign_extend(cast_element<int64_t>(value) & 0xF, 4)); break;
      case DType::kInt2: bytes[i] = static_cast<uint8_t>(sign_extend(cast_element<int64_t>(value) & 0x3, 2)); break;
      case DType::kUInt4: bytes[i] = static_cast<uint8_t>(cast_element<int64_t>(value) & 0xF); break;
      case DType::kUInt2: bytes[i] = static_cast<uint8_t>(cast_element<int64_t>(value) & 0x3); break;
      case DType::kFloat16: words[i] = float_to_half(static_cast<float>(value)); break;
      case DType::kBFloat16: words[i] = float_to_bfloat16(static_cast<float>(value)); break;
      default: bytes[i] = float_to_small_float(static_cast<float>(value), tensor.dtype(), true); break;
    }
  }
}

#define HUSSAR_INSTANTIATE(T)                                          \
  template void load_elements<T>(const Tensor&, int64_t, int64_t, T*); \
  template void store_elements<T>(Tensor&, int64_t, int64_t, const T*);
HUSSAR_INSTANTIATE(float)
HUSSAR_INSTANTIATE(double)
HUSSAR_INSTANTIATE(int64_t)
HUSSAR_INSTANTIATE(uint64_t)
#undef HUSSAR_INSTANTIATE

Tensor converted(const Tensor& tensor, DType dtype) {
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  load_elements(tensor, 0, tensor.elements(), values.data());
  Tensor result(dtype, tensor.shape());
  store_elements(result, 0, tensor.elements(), values.data());
  return result;
}

std::vector<double> to_doubles(const Tensor& tensor) {
  std::vector<double> values(static_cast<size_t>(tensor.elements()));
  if (!values.empty()) load_elements<double>(tensor, 0, tensor.elements(), values.data());
  return values;
}

}  // namespace hussar
