// From real numbers to bytes, as QuantizeLinear. Internal to kernels/int8, for files compiled per level only.
#pragma once
#include "backends/cpu/simd/bytes.h"
#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// saturate(round(y / scale) + zero_point); NaN gives the lowest byte. Bounds come first, so that no step meets an
// infinity: what lies beyond the number of the last byte rounds to that byte. The quotient is that of a division, at
// the price of four multiply-adds: y times the reciprocal is two units in the last place off at most, the first
// correction leaves one, and the second gives the rounded quotient (Markstein).
class ToBytes {
 public:
  ToBytes(float scale, int32_t zero_point)
      : least(static_cast<float>(-zero_point) * scale),
        most(static_cast<float>(255 - zero_point) * scale),
        scale_(set(scale)),
        reciprocal_(set(1 / scale)),
        zero_point_(iset(zero_point)) {}
  HUSSAR_INLINE void store(uint8_t* out, Vec y, int left) const {
    store_bounded(out, min_second(set(most), max_second(y, set(least))), left);
  }
  // y is between least and most.
  HUSSAR_INLINE void store_bounded(uint8_t* out, Vec y, int left) const {
    store_bytes_up_to(out, to_integers(y) + zero_point_, left);
  }
  // round(y / scale), whose magnitude is below 2^31; the least integer for NaN.
  HUSSAR_INLINE IVec to_integers(Vec y) const {
    Vec q = y * reciprocal_;
    q = fma_once(less_product(y, q, scale_), reciprocal_, q);
    q = fma_once(less_product(y, q, scale_), reciprocal_, q);
    return to_int(q);
  }

  const float least, most;

 private:
  Vec scale_, reciprocal_;
  IVec zero_point_;
};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
