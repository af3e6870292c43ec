// Register tiles whose last panel is half wanted: that panel is computed in vectors of 8 lanes, of which a core with
// 256-bit multiply-add units does two in the time of one of 16. AVX-512 only.
// Internal to kernels/tile, for tile_table.h.
#pragma once
#include "backends/cpu/kernels/tile/tile_kernels.h"
#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

#if defined(__AVX512F__)

constexpr int kHalfLanes = 8;

HUSSAR_INLINE __m256 finish_half(__m256 y, const TileOutput& out) {
  y = _mm256_min_ps(_mm256_set1_ps(out.high), _mm256_max_ps(_mm256_set1_ps(out.low), y));
  if (!out.hard_swish) return y;
  const __m256 gate = _mm256_fmadd_ps(y, _mm256_set1_ps(1.0f / 6.0f), _mm256_set1_ps(0.5f));
  y = _mm256_mul_ps(y, _mm256_min_ps(_mm256_set1_ps(1.0f), _mm256_max_ps(_mm256_setzero_ps(), gate)));
  return _mm256_fmadd_ps(y, _mm256_set1_ps(out.scale), _mm256_set1_ps(out.shift));
}

HUSSAR_INLINE Vec finish_whole(Vec y, const TileOutput& out) {
  y = clamp(y, set(out.low), set(out.high));
  return out.hard_swish ? hard_swish(y, set(out.scale), set(out.shift)) : y;
}

// The sums of one tile: kWhole panels and the first half of the next.
template <class Arithmetic, int kRows, int kWhole>
struct HalfTile {
  static constexpr int kWidth = kWhole * 16 + kHalfLanes;
  Vec whole[kRows][kWhole > 0 ? kWhole : 1];
  __m256 half[kRows];

  HUSSAR_INLINE void multiply_add(const float* a, const float* b, int64_t panel_stride) {
    Vec column{};
    if constexpr (kWhole > 0) column = load(b);
    const __m256 last = _mm256_loadu_ps(b + kWhole * panel_stride);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      if constexpr (kWhole > 0) {
        const Vec row = set(a[r * kTileChunk]);
        whole[r][0] = Arithmetic::step(row, column, whole[r][0]);
        half[r] = Arithmetic::step(_mm512_castps512_ps256(row.v), last, half[r]);
      } else {
        half[r] = Arithmetic::step(_mm256_broadcast_ss(a + r * kTileChunk), last, half[r]);
      }
    }
  }

  HUSSAR_INLINE void store_whole_width(const TileOutput& out) {
    const float* residual = out.residual;
    float* c = out.c;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      if (residual != nullptr) {
        if constexpr (kWhole > 0) whole[r][0] = whole[r][0] + load(residual);
        half[r] = _mm256_add_ps(half[r], _mm256_loadu_ps(residual + kWhole * 16));
        residual += out.residual_pitch;
      }
      if constexpr (kWhole > 0) store(c, finish_whole(whole[r][0], out));
      _mm256_storeu_ps(c + kWhole * 16, finish_half(half[r], out));
      c += out.c_pitch;
    }
  }
};

// a, b, k as for every TileKernel.
template <class Arithmetic, int kRows, int kWhole>
void half_tile(const float* a, const float* b, int64_t panel_stride, int64_t k, const TileOutput& out) {
  static_assert(kWhole <= 1);
  using Tile = HalfTile<Arithmetic, kRows, kWhole>;
  Tile tile;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    if constexpr (kWhole > 0) tile.whole[r][0] = load(out.bias);
    tile.half[r] = _mm256_loadu_ps(out.bias + kWhole * 16);
  }
  for (; k >= kTileChunk; k -= kTileChunk) {
#pragma GCC unroll 4
    for (int i = 0; i < kTileChunk; ++i) tile.multiply_add(a + i, b + i * 16, panel_stride);
    a += kRows * kTileChunk;
    b += 16 * kTileChunk;
  }
  for (; k > 0; --k, ++a, b += 16) tile.multiply_add(a, b, panel_stride);
  if (out.columns == Tile::kWidth) return tile.store_whole_width(out);
  alignas(64) float buffer[kRows * Tile::kWidth];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    if constexpr (kWhole > 0) store(buffer + r * Tile::kWidth, tile.whole[r][0]);
    _mm256_storeu_ps(buffer + r * Tile::kWidth + kWhole * 16, tile.half[r]);
  }
  store_rows(buffer, kRows, Tile::kWidth, out);
}

#endif

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
