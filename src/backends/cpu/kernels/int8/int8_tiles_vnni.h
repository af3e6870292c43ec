// The tiles of INT8 products by vpdpbusd: four products of bytes are added to each 32-bit sum. Internal to kernels/int8
// and kernels/attention, for *.vnni.cpp files only.
#pragma once
#include <immintrin.h>

#include "backends/cpu/int8_packing.h"
#include "backends/cpu/kernels/int8/meanwhile.h"
#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

template <int kRows, int kPanels, class Meanwhile>
void multiply_tile(const uint8_t* a, const int8_t* b, int64_t panel_bytes, int64_t k, int32_t* sums,
                   const Meanwhile& meanwhile) {
  __m512i sum[kRows][kPanels];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < kPanels; ++p) sum[r][p] = _mm512_setzero_si512();
  }
  for (int64_t chunk = 0; k > 0; ++chunk, k -= kInt8Chunk, a += kRows * kInt8Chunk) {
    meanwhile(chunk);
    const int64_t quads = k >= kInt8Chunk ? kInt8Chunk / 4 : (k + 3) / 4;
    for (int64_t i = 0; i < quads; ++i, b += 4 * kInt8Columns) {
      __m512i column[kPanels];
#pragma GCC unroll 16
      for (int p = 0; p < kPanels; ++p) column[p] = _mm512_loadu_si512(b + p * panel_bytes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        int32_t four;
        memcpy(&four, a + r * kInt8Chunk + i * 4, 4);
        const __m512i row = _mm512_set1_epi32(four);
#pragma GCC unroll 16
        for (int p = 0; p < kPanels; ++p) sum[r][p] = _mm512_dpbusd_epi32(sum[r][p], row, column[p]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < kPanels; ++p) _mm512_storeu_si512(sums + (r * kPanels + p) * kInt8Columns, sum[r][p]);
  }
}

template <class Meanwhile>
using MultiplyTile = void (*)(const uint8_t*, const int8_t*, int64_t, int64_t, int32_t*, const Meanwhile&);
constexpr int kTileRowsVnni = 14, kPanelSizes = 4;  // 1, 2, 4, 8
constexpr int most_tile_panels(int rows) { return rows <= 3 ? 8 : rows <= 6 ? 4 : 2; }

template <class Meanwhile>
struct MultiplyTable {
  MultiplyTile<Meanwhile> of[kTileRowsVnni + 1][kPanelSizes];
};
template <int kRows, int kLog, class Meanwhile>
constexpr void fill(MultiplyTable<Meanwhile>& table) {
  if constexpr (kRows <= kTileRowsVnni) {
    if constexpr ((1 << kLog) <= most_tile_panels(kRows)) {
      table.of[kRows][kLog] = multiply_tile<kRows, 1 << kLog, Meanwhile>;
      fill<kRows, kLog + 1>(table);
    } else {
      fill<kRows + 1, 0>(table);
    }
  }
}
template <class Meanwhile>
constexpr MultiplyTable<Meanwhile> make_table() {
  MultiplyTable<Meanwhile> table{};
  fill<1, 0>(table);
  return table;
}
template <class Meanwhile>
inline constexpr MultiplyTable<Meanwhile> kMultiply = make_table<Meanwhile>();

struct VnniTiles {
  using Element = uint8_t;
  static constexpr int kRows = kTileRowsVnni;
  // The shuffles that keep bytes take the ports of the multiplications.
  static constexpr bool kMeanwhile = true, kKeepsMeanwhile = false;
  static constexpr int most_panels(int rows) { return most_tile_panels(rows); }
  template <class Meanwhile = NothingElse>
  static void multiply(const uint8_t* a, int rows, const int8_t* b, int64_t panel_bytes, int panels, int64_t k,
                       int32_t* sums, const Meanwhile& meanwhile = {}) {
    kMultiply<Meanwhile>.of[rows][__builtin_ctz(static_cast<unsigned>(panels))](a, b, panel_bytes, k, sums, meanwhile);
  }
};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
