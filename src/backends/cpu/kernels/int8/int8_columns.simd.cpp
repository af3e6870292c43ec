// By halves of activations (AVX2, and AVX-512 without VNNI), and in scalar code.
#include "backends/cpu/kernels/int8/int8_columns_driver.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

#if defined(__AVX2__)

// A byte times a weight needs 16 bits, two of them more, and vpmaddubsw saturates. Half a byte times a weight are less
// than 2^11: 16 bits hold the 8 products of a chunk.
struct HalfBytes {
  static constexpr int64_t kBytes = 2;
  static constexpr int most_panels(int) { return 1; }
  static void form(uint64_t eight, uint8_t* out) {
    constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0f;
    const uint64_t halves[2] = {eight & kLow, eight >> 4 & kLow};
    memcpy(out, halves, sizeof(halves));
  }
  static HUSSAR_INLINE __m256i load(const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static HUSSAR_INLINE __m256i broadcast(const uint8_t* p) {
    int64_t eight;
    memcpy(&eight, p, sizeof(eight));
    return _mm256_set1_epi64x(eight);
  }

  template <int kRows, int kPanels>
  static __attribute__((noinline)) void multiply(const ColumnPanels& in, int32_t* sums) {
    constexpr int kLanesOfSums = 8, kAllVecs = 2;
    // Of a chunk, so many at a time as fit the registers.
    constexpr int kVecs = kRows == 1 ? kAllVecs : 1;
    const __m256i mask = _mm256_set1_epi32(0x03030303), second = _mm256_set1_epi32(0x04040000);
    const __m256i ones = _mm256_set1_epi16(1), sixteens = _mm256_set1_epi16(16);
    __m256i sum[kRows][kAllVecs];
    for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    const int8_t* b = in.b;
    const uint8_t* a = in.a;
    for (int64_t k = in.k; k > 0; k -= kColumnChunk, a += 2 * kColumnChunk) {
      const int steps = column_steps_of(k);
#pragma GCC unroll 1
      for (int first = 0; first < kAllVecs; first += kVecs) {
        const int8_t* weights = b + first * 32;
        __m256i codes[kVecs], low[kRows][kVecs], high[kRows][kVecs];
#pragma GCC unroll 2
        for (int v = 0; v < kVecs; ++v) {
          codes[v] = load(weights + v * 32);
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) low[r][v] = high[r][v] = _mm256_setzero_si256();
        }
#pragma GCC unroll 1
        for (int step = 0; step < steps; ++step) {
          weights += kColumnStepBytes;
          __builtin_prefetch(weights + kColumnAhead);
#pragma GCC unroll 2
          for (int v = 0; v < kVecs; ++v) {
            const __m256i kept = load(weights + v * 32);
            const __m256i places = _mm256_or_si256(_mm256_and_si256(codes[v], mask), second);
            codes[v] = _mm256_srli_epi32(codes[v], 2);
#pragma GCC unroll 4
            for (int r = 0; r < kRows; ++r) {
              const uint8_t* const row = a + r * in.pitch + step * 16;
              const __m256i lows = _mm256_shuffle_epi8(broadcast(row), places);
              const __m256i highs = _mm256_shuffle_epi8(broadcast(row + 8), places);
              low[r][v] = _mm256_add_epi16(low[r][v], _mm256_maddubs_epi16(lows, kept));
              high[r][v] = _mm256_add_epi16(high[r][v], _mm256_maddubs_epi16(highs, kept));
            }
          }
        }
#pragma GCC unroll 2
        for (int v = 0; v < kVecs; ++v) {
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) {
            const __m256i both =
                _mm256_add_epi32(_mm256_madd_epi16(low[r][v], ones), _mm256_madd_epi16(high[r][v], sixteens));
            sum[r][first + v] = _mm256_add_epi32(sum[r][first + v], both);
          }
        }
      }
      b += (1 + steps) * kColumnStepBytes;
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kAllVecs; ++v) {
        auto* const to = sums + r * kColumnColumns + v * kLanesOfSums;
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sum[r][v]);
      }
    }
  }
};
using Multiply = HalfBytes;

#else

struct SingleBytes {
  static constexpr int64_t kBytes = 1;
  static constexpr int most_panels(int) { return 1; }
  static void form(uint64_t eight, uint8_t* out) { memcpy(out, &eight, sizeof(eight)); }

  template <int kRows, int kPanels>
  static __attribute__((noinline)) void multiply(const ColumnPanels& in, int32_t* sums) {
    for (int i = 0; i < kRows * static_cast<int>(kColumnColumns); ++i) sums[i] = 0;
    const int8_t* b = in.b;
    const uint8_t* a = in.a;
    for (int64_t k = in.k; k > 0; k -= kColumnChunk, a += kColumnChunk) {
      const int steps = column_steps_of(k);
      const int8_t* const codes = b;
      b += kColumnCodeBytes;
      for (int step = 0; step < steps; ++step, b += kColumnStepBytes) {
        for (int i = 0; i < static_cast<int>(kColumnStepBytes); ++i) {
          const int place = (static_cast<uint8_t>(codes[i]) >> (2 * step) & 3) + i % 4 / 2 * 4;
          for (int r = 0; r < kRows; ++r) {
            sums[r * kColumnColumns + i / 4] += a[r * in.pitch + step * kInt8ColumnStep + place] * b[i];
          }
        }
      }
    }
  }
};
using Multiply = SingleBytes;

#endif

void run_product(const Int8Args& args, Share share, void* scratch) {
  run_columns_share<Multiply>(args, share, scratch);
}

}  // namespace

extern const Int8ColumnsTable int8_columns_table = {run_product};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
