#include "backends/cpu/kernels/int8/conversion.h"

#include "backends/cpu/kernels/int8/to_bytes.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// For scales of which ToBytes knows no reciprocal, and negative ones.
void quantize_slowly(const float* x, uint8_t* y, int64_t count, float scale, int32_t zero_point) {
  const Vec divisor = set(scale), low = set(static_cast<float>(-zero_point));
  const Vec high = set(static_cast<float>(255 - zero_point));
  const IVec zero = iset(zero_point);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int left = count - i < kLanes ? static_cast<int>(count - i) : kLanes;
    const Vec q = min_second(high, max_second(load_up_to(x + i, left) / divisor, low));
    store_bytes_up_to(y + i, to_int(q) + zero, left);
  }
}

void quantize(const float* x, uint8_t* y, int64_t count, float scale, int32_t zero_point) {
  if (!(scale > 1e-37f && scale < 1e36f)) return quantize_slowly(x, y, count, scale, zero_point);
  const ToBytes to_bytes(scale, zero_point);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int left = count - i < kLanes ? static_cast<int>(count - i) : kLanes;
    to_bytes.store(y + i, load_up_to(x + i, left), left);
  }
}

void dequantize(const uint8_t* x, float* y, int64_t count, float scale, int32_t zero_point) {
  const Vec factor = set(scale);
  const IVec zero = iset(zero_point);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int left = count - i < kLanes ? static_cast<int>(count - i) : kLanes;
    store_up_to(y + i, to_float(load_bytes_up_to(x + i, left) - zero) * factor, left);
  }
}

}  // namespace

extern const ConversionTable conversion_table = {quantize, dequantize};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
