#include "backends/cpu/kernels/int8/conversion.h"

#include "backends/cpu/kernels/int8/to_bytes.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// For scales of which ToBytes knows no reciprocal, and negative ones.
void quantize_slowly(const float* x, uint8_t* y, int64_t count, float scale, int32_t zero_point, uint8_t flip) {
  const Vec divisor = set(scale), low = set(static_cast<float>(-zero_point));
  const Vec high = set(static_cast<float>(255 - zero_point));
  const IVec zero = iset(zero_point);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int left = count - i < kLanes ? static_cast<int>(count - i) : kLanes;
    const Vec q = min_second(high, max_second(load_up_to(x + i, left) / divisor, low));
    store_bytes_up_to(y + i, (to_int(q) + zero) ^ iset(flip), left);
  }
}

void quantize(const float* x, uint8_t* y, int64_t count, float scale, int32_t zero_point, uint8_t flip) {
  if (!(scale > 1e-37f && scale < 1e36f)) return quantize_slowly(x, y, count, scale, zero_point, flip);
  const ToBytes to_bytes(scale, zero_point);
  const Vec least = set(to_bytes.least), most = set(to_bytes.most);
  const IVec zero = iset(zero_point), flips = iset(flip);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int left = count - i < kLanes ? static_cast<int>(count - i) : kLanes;
    const Vec bounded = min_second(most, max_second(load_up_to(x + i, left), least));
    store_bytes_up_to(y + i, (to_bytes.to_integers(bounded) + zero) ^ flips, left);
  }
}

void dequantize(const uint8_t* x, float* y, int64_t count, float scale, int32_t zero_point, uint8_t flip) {
  const Vec factor = set(scale);
  const IVec zero = iset(zero_point), flips = iset(flip);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int left = count - i < kLanes ? static_cast<int>(count - i) : kLanes;
    store_up_to(y + i, to_float((load_bytes_up_to(x + i, left) ^ flips) - zero) * factor, left);
  }
}

}  // namespace

extern const ConversionTable conversion_table = {quantize, dequantize};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
