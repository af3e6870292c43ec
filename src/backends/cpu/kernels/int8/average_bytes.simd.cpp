#include "backends/cpu/kernels/int8/average_bytes.h"

#include "backends/cpu/simd/bytes.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

template <int kVectors>
HUSSAR_INLINE void sum_block(const uint8_t* x, int64_t pixels, int64_t pitch, int last, int32_t* sums) {
  IVec totals[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) totals[v] = iset(0);
  for (int64_t i = 0; i < pixels; ++i, x += pitch) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      totals[v] = totals[v] + (v + 1 < kVectors ? load_bytes(x + v * kLanes) : load_bytes_up_to(x + v * kLanes, last));
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const int count = v + 1 < kVectors ? kLanes : last;
    store_up_to(reinterpret_cast<float*>(sums + v * kLanes), from_bits(totals[v]), count);
  }
}

void sum_pixels(const uint8_t* x, int64_t pixels, int64_t pitch, int64_t channels, int32_t* sums) {
  int64_t channel = 0;
  for (; channel + 8 * kLanes <= channels; channel += 8 * kLanes) {
    sum_block<8>(x + channel, pixels, pitch, kLanes, sums + channel);
  }
  for (; channel < channels; channel += kLanes) {
    const int last = static_cast<int>(channels - channel < kLanes ? channels - channel : kLanes);
    sum_block<1>(x + channel, pixels, pitch, last, sums + channel);
  }
}

}  // namespace

extern const AverageTable average_table = {sum_pixels};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
