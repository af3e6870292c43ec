#include "backends/cpu/kernels/int8/average_bytes.h"

#include "backends/cpu/kernels/int8/to_bytes.h"
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

// kVectors vectors of channels, of which the last one has `last`.
template <int kVectors>
HUSSAR_INLINE void window_block(const ByteWindow& window, int64_t channel, int last, const ToBytes& to_bytes,
                                const MeanTarget& target) {
  IVec totals[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) totals[v] = iset(window.start);
  for (int64_t z = 0; z < window.counts[0]; ++z) {
    for (int64_t y = 0; y < window.counts[1]; ++y) {
      const uint8_t* x = window.first + z * window.steps[0] + y * window.steps[1] + channel;
      for (int64_t tap = 0; tap < window.counts[2]; ++tap, x += window.steps[2]) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v)
          totals[v] =
              totals[v] + (v + 1 < kVectors ? load_bytes(x + v * kLanes) : load_bytes_up_to(x + v * kLanes, last));
      }
    }
  }
  const Vec factor = set(window.factor);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const int count = v + 1 < kVectors ? kLanes : last;
    const Vec mean = to_float(totals[v]) * factor;
    if (target.bytes != nullptr) {
      to_bytes.store(target.bytes + channel + v * kLanes, mean, count);
    } else {
      store_up_to(target.reals + channel + v * kLanes, mean, count);
    }
  }
}

void average_window(const ByteWindow& window, int64_t channels, const MeanTarget& target) {
  const ToBytes to_bytes(target.scale, target.zero_point);
  int64_t channel = 0;
  for (; channel + 4 * kLanes <= channels; channel += 4 * kLanes) {
    window_block<4>(window, channel, kLanes, to_bytes, target);
  }
  for (; channel < channels; channel += kLanes) {
    const int last = static_cast<int>(channels - channel < kLanes ? channels - channel : kLanes);
    window_block<1>(window, channel, last, to_bytes, target);
  }
}

}  // namespace

extern const AverageTable average_table = {sum_pixels, average_window};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
