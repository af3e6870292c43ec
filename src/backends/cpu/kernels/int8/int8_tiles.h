// The tiles of INT8 products by 16-bit multiply-adds (AVX2, and AVX-512 without VNNI) and in scalar code. Internal to
// kernels/int8 and kernels/attention, for *.simd.cpp files only.
#pragma once
#include "backends/cpu/int8_packing.h"
#include "backends/cpu/kernels/int8/meanwhile.h"
#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

#if defined(__AVX2__)

// Pairs of products are summed in one step and cannot overflow 32 bits. A register holds the sums of four columns, of
// the first and of the second two of every four k.
template <int kRows, int kVecs>
void multiply_block(const uint16_t* a, int64_t chunk_elements, const int8_t* b, int64_t k, int32_t* sums,
                    int64_t width) {
  __m256i sum[kRows][kVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) sum[r][v] = _mm256_setzero_si256();
  }
  for (; k > 0; k -= kInt8Chunk, a += chunk_elements) {
    const int64_t quads = k >= kInt8Chunk ? kInt8Chunk / 4 : (k + 3) / 4;
    for (int64_t i = 0; i < quads; ++i, b += 4 * kInt8Columns) {
      __m256i column[kVecs];
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        column[v] = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b + v * 16)));
      }
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        int64_t four;
        memcpy(&four, a + r * kInt8Chunk + i * 4, 8);
        const __m256i row = _mm256_set1_epi64x(four);
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v) sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(row, column[v]));
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; v += 2) {
      const __m256i both = _mm256_hadd_epi32(sum[r][v], sum[r][v + 1]);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + r * width + v * 4), _mm256_permute4x64_epi64(both, 0xd8));
    }
  }
}

struct Int8Tiles {
  using Element = uint16_t;
  static constexpr int kRows = 6;
  static constexpr bool kMeanwhile = false, kKeepsMeanwhile = false;
  static constexpr int most_panels(int) { return 1; }

  template <int kCount>
  static void multiply_rows(const uint16_t* a, int64_t chunk_elements, const int8_t* b, int64_t k, int32_t* sums) {
    if constexpr (kCount <= 2) {
      multiply_block<kCount, 4>(a, chunk_elements, b, k, sums, kInt8Columns);
    } else {
      multiply_block<kCount, 2>(a, chunk_elements, b, k, sums, kInt8Columns);
      multiply_block<kCount, 2>(a, chunk_elements, b + 32, k, sums + 8, kInt8Columns);
    }
  }
  static void multiply(const uint16_t* a, int rows, const int8_t* b, int64_t, int, int64_t k, int32_t* sums) {
    const int64_t chunk_elements = rows * kInt8Chunk;
    switch (rows) {
      case 1: return multiply_rows<1>(a, chunk_elements, b, k, sums);
      case 2: return multiply_rows<2>(a, chunk_elements, b, k, sums);
      case 3: return multiply_rows<3>(a, chunk_elements, b, k, sums);
      case 4: return multiply_rows<4>(a, chunk_elements, b, k, sums);
      case 5: return multiply_rows<5>(a, chunk_elements, b, k, sums);
      default: return multiply_rows<6>(a, chunk_elements, b, k, sums);
    }
  }
};

#else

struct Int8Tiles {
  using Element = uint8_t;
  static constexpr int kRows = 4;
  static constexpr bool kMeanwhile = false, kKeepsMeanwhile = false;
  static constexpr int most_panels(int) { return 1; }

  static void multiply(const uint8_t* a, int rows, const int8_t* b, int64_t, int, int64_t k, int32_t* sums) {
    for (int r = 0; r < rows; ++r) {
      int32_t* const sum = sums + r * kInt8Columns;
      for (int column = 0; column < kInt8Columns; ++column) sum[column] = 0;
      for (int64_t i = 0; i < k; ++i) {
        const int32_t x = a[(i / kInt8Chunk * rows + r) * kInt8Chunk + i % kInt8Chunk];
        const int8_t* const row = b + i / 4 * 4 * kInt8Columns + i % 4;
        for (int column = 0; column < kInt8Columns; ++column) sum[column] += x * row[column * 4];
      }
    }
  }
};

#endif

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
