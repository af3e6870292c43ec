#include "backends/cpu/kernels/int8/axis_conversion.h"

#include "backends/cpu/simd/bytes.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

template <class T>
constexpr int32_t kLeast = static_cast<T>(-1) < 0 ? -(1 << (8 * sizeof(T) - 1)) : 0;
template <class T>
constexpr int32_t kMost = kLeast<T> + (1 << (8 * sizeof(T))) - 1;

// Vectors of scales and zero points from element i on.
struct Scales {
  Vec scale;
  IVec zero;
};
HUSSAR_INLINE Scales scales_at(const ScaleLine& line, int64_t i, int left) {
  if (line.step == 0) return {set(line.scales[0]), iset(line.zero_points[0])};
  return {load_up_to(line.scales + i, left),
          bits(load_up_to(reinterpret_cast<const float*>(line.zero_points + i), left))};
}

template <class T>
HUSSAR_INLINE void store_integers(T* to, IVec numbers, int left) {
  alignas(64) float lanes[kLanes];
  store(lanes, from_bits(numbers));
  for (int lane = 0; lane < left; ++lane) {
    int32_t number;
    memcpy(&number, lanes + lane, 4);
    to[lane] = static_cast<T>(number);
  }
}
HUSSAR_INLINE void store_integers(uint8_t* to, IVec numbers, int left) { store_bytes_up_to(to, numbers, left); }

template <class T>
void quantize(const float* x, void* y, int64_t count, const ScaleLine& line) {
  auto* const to = static_cast<T*>(y);
  const IVec least = iset(kLeast<T>), most = iset(kMost<T>);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int left = count - i < kLanes ? static_cast<int>(count - i) : kLanes;
    const Scales by = scales_at(line, i, left);
    // In this order NaN becomes the lower bound.
    const Vec low = to_float(least - by.zero), high = to_float(most - by.zero);
    const Vec q = min_second(high, max_second(load_up_to(x + i, left) / by.scale, low));
    store_integers(to + i, to_int(q) + by.zero, left);
  }
}

template <class T>
void dequantize(const void* x, float* y, int64_t count, const ScaleLine& line) {
  const auto* const from = static_cast<const T*>(x);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int left = count - i < kLanes ? static_cast<int>(count - i) : kLanes;
    const Scales by = scales_at(line, i, left);
    alignas(64) int32_t numbers[kLanes] = {};
    for (int lane = 0; lane < left; ++lane) numbers[lane] = from[i + lane];
    store_up_to(y + i, to_float(load_ints(numbers) - by.zero) * by.scale, left);
  }
}

}  // namespace

extern const AxisConversionTable axis_conversion_table = {
    {quantize<uint8_t>, quantize<int8_t>, quantize<uint16_t>, quantize<int16_t>},
    {dequantize<uint8_t>, dequantize<int8_t>, dequantize<uint16_t>, dequantize<int16_t>}};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
