// The transforms of one tile and kTileLanes channels. Internal to kernels/winograd, for *.simd.cpp files only.
//
// F(2 x 2) interpolates at 0, 1, -1 and infinity, F(4 x 4) at 0, +-3/4, +-3/2 and infinity. The usual +-1, +-2 would
// save a few multiplications and cost five times the rounding error; all constants below are exact in FP32.
#pragma once
#include "backends/cpu/kernels/tile/tile_vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// The interpolation points of F(4 x 4).
constexpr float kNear = 0.75f, kFar = 1.5f;
constexpr float kNear2 = kNear * kNear, kFar2 = kFar * kFar;
constexpr float kNear3 = kNear2 * kNear, kFar3 = kFar2 * kFar;

// Where a tile is read from: pixel (y, x) at data + y * line + x * pixel.
struct TileSource {
  const float* data;
  int64_t line;
  int64_t pixel;
};

// What happens to the outputs of a tile: y = min(max(sum + bias + residual, low), high), stored.
struct OutputTile {
  float* data;
  int64_t line;
  int64_t pixel;
  const float* bias;
  const float* residual;  // or null
  int64_t residual_line;
  int64_t residual_pixel;
  float low;
  float high;
};

template <int kOutput>
struct Transform;

template <>
struct Transform<2> {
  static constexpr int kInput = 4;

  static HUSSAR_INLINE void input_axis(const TileVec (&d)[4], TileVec (&t)[4]) {
    t[0] = d[0] - d[2];
    t[1] = d[1] + d[2];
    t[2] = d[2] - d[1];
    t[3] = d[3] - d[1];
  }

  // Writes position p to out + p * position.
  static HUSSAR_INLINE void input(const TileSource& source, float* out, int64_t position) {
    TileVec columns[4][4];
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) {
      TileVec d[4];
#pragma GCC unroll 4
      for (int y = 0; y < 4; ++y) d[y] = tile_load(source.data + y * source.line + x * source.pixel);
      input_axis(d, columns[x]);
    }
#pragma GCC unroll 4
    for (int y = 0; y < 4; ++y) {
      const TileVec row[4] = {columns[0][y], columns[1][y], columns[2][y], columns[3][y]};
      TileVec t[4];
      input_axis(row, t);
#pragma GCC unroll 4
      for (int x = 0; x < 4; ++x) store(out + (y * 4 + x) * position, t[x]);
    }
  }

  static HUSSAR_INLINE void output_row(const float* sums, int64_t position, TileVec (&y)[2]) {
    const TileVec m1 = tile_load(sums + position), m2 = tile_load(sums + 2 * position);
    y[0] = tile_load(sums) + (m1 + m2);
    y[1] = (m1 - m2) + tile_load(sums + 3 * position);
  }

  static HUSSAR_INLINE void output(const float* sums, int64_t position, TileVec (&y)[2][2]) {
    TileVec rows[4][2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) output_row(sums + i * 4 * position, position, rows[i]);
#pragma GCC unroll 2
    for (int x = 0; x < 2; ++x) {
      y[0][x] = rows[0][x] + (rows[1][x] + rows[2][x]);
      y[1][x] = (rows[1][x] - rows[2][x]) + rows[3][x];
    }
  }
};

template <>
struct Transform<4> {
  static constexpr int kInput = 6;

  // The rows of the transform at +point and -point; other2 is the square of the other pair of points.
  static HUSSAR_INLINE void input_pair(TileVec d1, TileVec d2, TileVec d3, TileVec d4, float point, float other2,
                                       TileVec& plus, TileVec& minus) {
    const TileVec even = fma(tile_set(-other2), d2, d4), odd = fma(tile_set(-other2), d1, d3);
    plus = fma(tile_set(point), odd, even);
    minus = fma(tile_set(-point), odd, even);
  }
  // The rows at 0 (of d0, d2, d4) and at infinity (of d1, d3, d5).
  static HUSSAR_INLINE TileVec input_end(TileVec first, TileVec second, TileVec third) {
    return fma(tile_set(kNear2 * kFar2), first, fma(tile_set(-(kNear2 + kFar2)), second, third));
  }

  static HUSSAR_INLINE void input_row(const TileVec (&d)[6], float* out, int64_t position) {
    TileVec plus, minus;
    store(out, input_end(d[0], d[2], d[4]));
    input_pair(d[1], d[2], d[3], d[4], kNear, kFar2, plus, minus);
    store(out + position, plus);
    store(out + 2 * position, minus);
    input_pair(d[1], d[2], d[3], d[4], kFar, kNear2, plus, minus);
    store(out + 3 * position, plus);
    store(out + 4 * position, minus);
    store(out + 5 * position, input_end(d[1], d[3], d[5]));
  }

  // Two rows of positions at a time: reading pixels again is cheaper than keeping 36 vectors outside of the registers.
  static HUSSAR_INLINE void input_rows(const TileSource& source, float point, float other2, float* out,
                                       int64_t position) {
    TileVec plus[6], minus[6];
#pragma GCC unroll 6
    for (int x = 0; x < 6; ++x) {
      const float* d = source.data + source.line + x * source.pixel;
      input_pair(tile_load(d), tile_load(d + source.line), tile_load(d + 2 * source.line),
                 tile_load(d + 3 * source.line), point, other2, plus[x], minus[x]);
    }
    input_row(plus, out, position);
    input_row(minus, out + 6 * position, position);
  }
  static HUSSAR_INLINE void input_end_row(const TileSource& source, int first, float* out, int64_t position) {
    TileVec row[6];
#pragma GCC unroll 6
    for (int x = 0; x < 6; ++x) {
      const float* d = source.data + first * source.line + x * source.pixel;
      row[x] = input_end(tile_load(d), tile_load(d + 2 * source.line), tile_load(d + 4 * source.line));
    }
    input_row(row, out, position);
  }

  static HUSSAR_INLINE void input(const TileSource& source, float* out, int64_t position) {
    input_end_row(source, 0, out, position);
    input_rows(source, kNear, kFar2, out + 6 * position, position);
    input_rows(source, kFar, kNear2, out + 18 * position, position);
    input_end_row(source, 1, out + 30 * position, position);
  }

  static HUSSAR_INLINE void output_row(const float* sums, int64_t position, TileVec (&y)[4]) {
    const TileVec m1 = tile_load(sums + position), m2 = tile_load(sums + 2 * position);
    const TileVec m3 = tile_load(sums + 3 * position), m4 = tile_load(sums + 4 * position);
    const TileVec near_even = m1 + m2, near_odd = m1 - m2, far_even = m3 + m4, far_odd = m3 - m4;
    y[0] = tile_load(sums) + (near_even + far_even);
    y[1] = fma(tile_set(kNear), near_odd, tile_set(kFar) * far_odd);
    y[2] = fma(tile_set(kNear2), near_even, tile_set(kFar2) * far_even);
    y[3] = fma(tile_set(kNear3), near_odd, fma(tile_set(kFar3), far_odd, tile_load(sums + 5 * position)));
  }

  // Row by row into the 16 results, so that they and one pair of rows fit the registers.
  static HUSSAR_INLINE void output(const float* sums, int64_t position, TileVec (&y)[4][4]) {
    TileVec plus[4], minus[4];
    output_row(sums, position, y[0]);
    output_row(sums + 6 * position, position, plus);
    output_row(sums + 12 * position, position, minus);
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) {
      const TileVec even = plus[x] + minus[x], odd = plus[x] - minus[x];
      y[0][x] = y[0][x] + even;
      y[1][x] = tile_set(kNear) * odd;
      y[2][x] = tile_set(kNear2) * even;
      y[3][x] = tile_set(kNear3) * odd;
    }
    output_row(sums + 18 * position, position, plus);
    output_row(sums + 24 * position, position, minus);
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) {
      const TileVec even = plus[x] + minus[x], odd = plus[x] - minus[x];
      y[0][x] = y[0][x] + even;
      y[1][x] = fma(tile_set(kFar), odd, y[1][x]);
      y[2][x] = fma(tile_set(kFar2), even, y[2][x]);
      y[3][x] = fma(tile_set(kFar3), odd, y[3][x]);
    }
    output_row(sums + 30 * position, position, plus);
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) y[3][x] = y[3][x] + plus[x];
  }
};

// 16 channels of one tile. Not inlined: a compiler that fuses multiplications and additions differently at two places
// would make results depend on where a tile's pixels come from.
template <int kOutput>
__attribute__((noinline)) void transform_input(const TileSource& source, float* out, int64_t position) {
  for (int v = 0; v < kVecsPerPanel; ++v) {
    Transform<kOutput>::input({source.data + v * kTileLanes, source.line, source.pixel}, out + v * kTileLanes,
                              position);
  }
}

// One panel of one tile; position p's sums are at sums + p * position.
template <int kOutput>
__attribute__((noinline)) void transform_output(const float* sums, int64_t position, const OutputTile& target) {
  const TileVec low = tile_set(target.low), high = tile_set(target.high);
  for (int v = 0; v < kVecsPerPanel; ++v) {
    const int at = v * kTileLanes;
    TileVec y[kOutput][kOutput];
    Transform<kOutput>::output(sums + at, position, y);
    const TileVec bias = tile_load(target.bias + at);
#pragma GCC unroll 4
    for (int i = 0; i < kOutput; ++i) {
#pragma GCC unroll 4
      for (int x = 0; x < kOutput; ++x) y[i][x] = y[i][x] + bias;
    }
    if (target.residual != nullptr) {
#pragma GCC unroll 4
      for (int i = 0; i < kOutput; ++i) {
        const float* residual = target.residual + i * target.residual_line + at;
#pragma GCC unroll 4
        for (int x = 0; x < kOutput; ++x) y[i][x] = y[i][x] + tile_load(residual + x * target.residual_pixel);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kOutput; ++i) {
      float* data = target.data + i * target.line + at;
#pragma GCC unroll 4
      for (int x = 0; x < kOutput; ++x) {
        store(data + x * target.pixel, min_second(high, max_second(low, y[i][x])));
      }
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
