#include "backends/cpu/kernels/int8/head_bytes.h"

#include "backends/cpu/simd/bytes.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// kVectors vectors of columns, of which the last one has `last`.
template <int kVectors>
HUSSAR_INLINE void largest_of_block(const ColumnsOfRows& from, int64_t column, int last, float* most) {
  Vec found[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) found[v] = set(0.0f);
  const float* x = from.x + column;
  for (int64_t row = 0; row < from.rows; ++row, x += from.pitch) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const Vec number = v + 1 < kVectors ? load(x + v * kLanes) : load_up_to(x + v * kLanes, last);
      found[v] = max_second(abs(number), found[v]);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v)
    store_up_to(most + column + v * kLanes, found[v], v + 1 < kVectors ? kLanes : last);
}

void largest(const ColumnsOfRows& from, float* most) {
  int64_t c = 0;
  for (; c + 8 * kLanes <= from.columns; c += 8 * kLanes) largest_of_block<8>(from, c, kLanes, most);
  for (; c < from.columns; c += kLanes) {
    largest_of_block<1>(from, c, from.columns - c < kLanes ? static_cast<int>(from.columns - c) : kLanes, most);
  }
}

void quantize(const ColumnsOfRows& from, const float* scales, const float* reciprocals, uint8_t* y) {
  const IVec zero = iset(128);
  const Vec low = set(-128.0f), high = set(127.0f);
  for (int64_t row = 0; row < from.rows; ++row, y += from.columns) {
    const float* const x = from.x + row * from.pitch;
    for (int64_t c = 0; c < from.columns; c += kLanes) {
      const int left = from.columns - c < kLanes ? static_cast<int>(from.columns - c) : kLanes;
      const Vec scale = load_up_to(scales + c, left), reciprocal = load_up_to(reciprocals + c, left);
      // The rounded quotient, as in ToBytes; magnitudes are 127 scales at most, so nothing overflows.
      const Vec number = load_up_to(x + c, left);
      Vec q = number * reciprocal;
      q = fma_once(less_product(number, q, scale), reciprocal, q);
      q = fma_once(less_product(number, q, scale), reciprocal, q);
      // In this order NaN gives the lowest byte.
      store_bytes_up_to(y + c, to_int(min_second(high, max_second(q, low))) + zero, left);
    }
  }
}

}  // namespace

extern const HeadBytesTable head_bytes_table = {largest, quantize};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
