#include <immintrin.h>

#include "backends/cpu/kernels/peak/peak.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// Twelve independent chains, as for FP32.
double multiply_add_bytes(int64_t iterations) {
  constexpr int kChains = 12;
  const __m512i factor = _mm512_set1_epi8(3);
  __m512i sums[kChains] = {};
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (__m512i& sum : sums) {
      sum = _mm512_dpbusd_epi32(sum, factor, factor);
      __asm__ volatile("" : "+v"(sum));
    }
  }
  return 2.0 * kChains * 64 * static_cast<double>(iterations);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
