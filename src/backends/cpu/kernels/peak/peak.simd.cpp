// Twelve independent chains of multiply-adds hide the latency of two units with four cycles each.
#include "backends/cpu/kernels/peak/peak.h"

#include "backends/cpu/simd/vec.h"

// The compiler must neither merge the chains nor compute them beforehand.
#if defined(__x86_64__)
#define HUSSAR_KEEP(value) __asm__ volatile("" : "+v"((value).v))
#else
#define HUSSAR_KEEP(value) __asm__ volatile("" : "+w"((value).v))
#endif

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

constexpr int kChains = 12;

double multiply_add(int64_t iterations) {
  Vec factor = set(1.0001f), addend = set(0.9999f);
  Vec chains[kChains];
  for (Vec& chain : chains) chain = addend;
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (Vec& chain : chains) {
      chain = fma(factor, addend, chain);
      HUSSAR_KEEP(chain);
    }
  }
  return 2.0 * kChains * kLanes * static_cast<double>(iterations);
}

float read(const float* data, int64_t count) {
  constexpr int kStreams = 8;
  Vec sums[kStreams];
  for (Vec& sum : sums) sum = set(0);
  for (int64_t i = 0; i < count; i += kStreams * kLanes) {
#pragma GCC unroll 8
    for (int stream = 0; stream < kStreams; ++stream) sums[stream] = sums[stream] + load(data + i + stream * kLanes);
  }
  for (int stream = 1; stream < kStreams; ++stream) sums[0] = sums[0] + sums[stream];
  return sum_lanes(sums[0]);
}

#if defined(__AVX2__)
// As the kernels do without VNNI, on every level: 16 products of 16 bits, summed in pairs.
double multiply_add_bytes(int64_t iterations) {
  __m256i factor = _mm256_set1_epi16(3), sums[kChains] = {};
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (__m256i& sum : sums) {
      __asm__ volatile("" : "+x"(factor));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(factor, factor));
      __asm__ volatile("" : "+x"(sum));
    }
  }
  return 2.0 * kChains * 16 * static_cast<double>(iterations);
}
#else
double multiply_add_bytes(int64_t iterations) {
  int32_t factor = 3, sums[4] = {};
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 4
    for (int32_t& sum : sums) {
      __asm__ volatile("" : "+r"(factor));
      sum += factor * factor;
      __asm__ volatile("" : "+r"(sum));
    }
  }
  return 2.0 * 4 * static_cast<double>(iterations);
}
#endif

}  // namespace

extern const PeakTable peak_table = {multiply_add, read, multiply_add_bytes};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
