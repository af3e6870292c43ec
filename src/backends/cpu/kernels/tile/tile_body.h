// One step of a register tile and its end. Internal to kernels/tile and kernels/bfloat, for files compiled per level
// only.
#pragma once
#include "backends/cpu/kernels/tile/tile_kernels.h"
#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// What one element of A and B is, and one step of the sums: floats. (Pairs of bfloat16: kernels/bfloat.)
struct Floats {
  static HUSSAR_INLINE TileVec step(TileVec a, TileVec b, TileVec sum) { return fma(a, b, sum); }
#if defined(__AVX512F__)
  static HUSSAR_INLINE __m256 step(__m256 a, __m256 b, __m256 sum) { return _mm256_fmadd_ps(a, b, sum); }
#endif
};

// One k: the smaller of the two operand sets is held in registers, the other passes through one.
template <class Arithmetic, int kRows, int kVecs>
HUSSAR_INLINE void multiply_add(const float* a, const float* b, int64_t panel_stride, TileVec (&sum)[kRows][kVecs]) {
  if constexpr (kRows < kVecs) {
    TileVec row[kRows];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) row[r] = tile_set(a[r * kTileChunk]);
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      const TileVec column = tile_load(b + (v / kVecsPerPanel) * panel_stride + (v % kVecsPerPanel) * kTileLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) sum[r][v] = Arithmetic::step(row[r], column, sum[r][v]);
    }
  } else {
    TileVec column[kVecs];
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      column[v] = tile_load(b + (v / kVecsPerPanel) * panel_stride + (v % kVecsPerPanel) * kTileLanes);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const TileVec row = tile_set(a[r * kTileChunk]);
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) sum[r][v] = Arithmetic::step(row, column[v], sum[r][v]);
    }
  }
}

template <int kRows, int kVecs>
HUSSAR_INLINE void store_tile(TileVec (&sum)[kRows][kVecs], const TileOutput& out) {
  if (out.columns != kVecs * kTileLanes) {
    alignas(64) float tile[kRows * kVecs * kTileLanes];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) store(tile + (r * kVecs + v) * kTileLanes, sum[r][v]);
    }
    return store_rows(tile, kRows, kVecs * kTileLanes, out);
  }
  if (out.residual != nullptr) {
    const float* residual = out.residual;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) sum[r][v] = sum[r][v] + tile_load(residual + v * kTileLanes);
      residual += out.residual_pitch;
    }
  }
  const TileVec low = tile_set(out.low), high = tile_set(out.high);
  float* c = out.c;
  if (out.hard_swish) {
    const TileVec scale = tile_set(out.scale), shift = tile_set(out.shift);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        const TileVec y = min_second(high, max_second(low, sum[r][v]));
        const TileVec gate = fma(y, tile_set(1.0f / 6.0f), tile_set(0.5f));
        const TileVec swish = y * min_second(tile_set(1.0f), max_second(tile_set(0.0f), gate));
        store(c + v * kTileLanes, fma(swish, scale, shift));
      }
      c += out.c_pitch;
    }
    return;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) store(c + v * kTileLanes, min_second(high, max_second(low, sum[r][v])));
    c += out.c_pitch;
  }
}

// The kernels of a family for every number of rows and panels: Family::kernel<rows, panels>, of the type
// Family::Kernel.
constexpr int kPanelSizes = 4;  // 1, 2, 4, 8
template <class Family>
struct TileTableOf {
  typename Family::Kernel of[kTileRows + 1][kPanelSizes];
  typename Family::Kernel operator()(int rows, int panels) const {
    return of[rows][__builtin_ctz(static_cast<unsigned>(panels))];
  }
};
template <class Family, int kRows, int kLog>
constexpr void fill_table(TileTableOf<Family>& table) {
  if constexpr ((1 << kLog) <= max_panels(kRows)) {
    table.of[kRows][kLog] = Family::template kernel<kRows, 1 << kLog>;
    fill_table<Family, kRows, kLog + 1>(table);
  } else if constexpr (kRows < kTileRows) {
    fill_table<Family, kRows + 1, 0>(table);
  }
}
template <class Family>
constexpr TileTableOf<Family> make_tile_table() {
  TileTableOf<Family> table{};
  fill_table<Family, 1, 0>(table);
  return table;
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
