// By vpdpbusd.
#include <immintrin.h>

#include "backends/cpu/kernels/int8/int8_columns_driver.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

struct VnniColumns {
  static constexpr int64_t kBytes = 1;
  static constexpr int most_panels(int rows) { return rows == 1 ? 8 : 4; }
  static void form(uint64_t eight, uint8_t* out) { memcpy(out, &eight, sizeof(eight)); }

  template <int kRows, int kPanels>
  static __attribute__((noinline)) void multiply(const ColumnPanels& in, int32_t* sums) {
    // The last two of every four bytes are of the second four activations.
    const __m512i mask = _mm512_set1_epi32(0x03030303), second = _mm512_set1_epi32(0x04040000);
    constexpr int kAndOr = 0xea;  // codes & mask | second
    __m512i sum[kRows][kPanels];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) sum[r][p] = _mm512_setzero_si512();
    }
    const int8_t* b = in.b;
    const uint8_t* a = in.a;
    for (int64_t k = in.k; k > 0; k -= kColumnChunk) {
      const int steps = column_steps_of(k);
      __m512i codes[kPanels];
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) codes[p] = _mm512_loadu_si512(b + p * in.panel_bytes);
      b += kColumnCodeBytes;
      for (int step = 0; step < steps; ++step, a += kInt8ColumnStep, b += kColumnStepBytes) {
        __m512i row[kRows];
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          int64_t eight;
          memcpy(&eight, a + r * in.pitch, sizeof(eight));
          row[r] = _mm512_set1_epi64(eight);
        }
#pragma GCC unroll 8
        for (int p = 0; p < kPanels; ++p) {
          const __m512i weights = _mm512_loadu_si512(b + p * in.panel_bytes);
          const __m512i places = _mm512_ternarylogic_epi32(codes[p], mask, second, kAndOr);
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) {
            sum[r][p] = _mm512_dpbusd_epi32(sum[r][p], _mm512_shuffle_epi8(row[r], places), weights);
          }
          codes[p] = _mm512_srli_epi32(codes[p], 2);
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) {
        _mm512_storeu_si512(sums + (r * kPanels + p) * kColumnColumns, sum[r][p]);
      }
    }
  }
};

}  // namespace

void run_int8_columns(const Int8Args& args, Share share, void* scratch) {
  run_columns_share<VnniColumns>(args, share, scratch);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
