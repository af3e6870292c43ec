#include "backends/cpu/kernels/half/half_tiles.h"

#include "backends/cpu/kernels/half/half_vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// One pair of k: the smaller of the two operand sets is held in registers, the other passes through one.
template <int kRows, int kVecs>
HUSSAR_INLINE void multiply_add(const uint16_t* a, const uint16_t* b, int64_t panel_stride,
                                HalfVec (&sum)[kRows][kVecs]) {
  if constexpr (kRows < kVecs) {
    HalfVec row[kRows];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) row[r] = half_broadcast_pair(a + r * kHalfChunk);
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      const HalfVec column = half_load(b + v / 2 * panel_stride + v % 2 * kHalfLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) sum[r][v] = fma(row[r], column, sum[r][v]);
    }
  } else {
    HalfVec column[kVecs];
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) column[v] = half_load(b + v / 2 * panel_stride + v % 2 * kHalfLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const HalfVec row = half_broadcast_pair(a + r * kHalfChunk);
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) sum[r][v] = fma(row, column[v], sum[r][v]);
    }
  }
}

struct Finished {
  Vec first, second;  // 16 columns each
};

// Where sums go: `from` is what they are added to, row_floats further for every row.
template <int kRows, int kPanels>
HUSSAR_INLINE void flush(const HalfVec (&sum)[kRows][2 * kPanels], const float* from, int64_t row_floats, float* to) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < kPanels; ++p) {
      const HalfVec s = add_pairs(sum[r][2 * p], sum[r][2 * p + 1]);
      store(to + p * 32, first_half(s) + load(from + p * 32));
      store(to + p * 32 + 16, second_half(s) + load(from + p * 32 + 16));
    }
    from += row_floats;
    to += kPanels * 32;
  }
}

// The same into the output itself, of which all columns are wanted.
template <int kRows, int kPanels>
HUSSAR_INLINE void finish(const HalfVec (&sum)[kRows][2 * kPanels], const float* from, int64_t row_floats,
                          const TileOutput& out) {
  const Vec low = set(out.low), high = set(out.high);
  const float* residual = out.residual;
  float* c = out.c;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < kPanels; ++p) {
      const HalfVec s = add_pairs(sum[r][2 * p], sum[r][2 * p + 1]);
      Vec first = first_half(s) + load(from + p * 32), second = second_half(s) + load(from + p * 32 + 16);
      if (residual != nullptr) {
        first = first + load(residual + p * 32);
        second = second + load(residual + p * 32 + 16);
      }
      store(c + p * 32, clamp(first, low, high));
      store(c + p * 32 + 16, clamp(second, low, high));
    }
    from += row_floats;
    c += out.c_pitch;
    if (residual != nullptr) residual += out.residual_pitch;
  }
}

// The last columns of a matrix: sums hold [rows][width], of which out.columns are wanted.
void store_partial(const float* sums, int rows, int width, const TileOutput& out) {
  const Vec low = set(out.low), high = set(out.high);
  for (int r = 0; r < rows; ++r) {
    for (int column = 0; column < out.columns; column += kLanes) {
      const int left = out.columns - column;
      Vec y = load(sums + r * width + column);
      if (out.residual != nullptr) y = y + load_up_to(out.residual + r * out.residual_pitch + column, left);
      store_up_to(out.c + r * out.c_pitch + column, clamp(y, low, high), left);
    }
  }
}

template <int kRows, int kPanels>
void tile(const uint16_t* a, const uint16_t* b, int64_t panel_stride, int64_t k, const TileOutput& out) {
  constexpr int kVecs = 2 * kPanels, kWidth = 32 * kPanels;
  alignas(64) float sums[kRows * kWidth];
  const float* from = out.bias;
  const float* ahead = out.ahead;
  int64_t row_floats = 0;
  int64_t pairs = (k + 1) / 2;
  for (;;) {
    HalfVec sum[kRows][kVecs];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) sum[r][v] = half_zero();
    }
    int64_t left = pairs < kHalfPairsAtOnce ? pairs : kHalfPairsAtOnce;
    pairs -= left;
    for (; left >= kHalfChunk / 2; left -= kHalfChunk / 2) {
      for (int i = 0; i < out.ahead_lines; ++i, ahead += 16) __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 4
      for (int i = 0; i < kHalfChunk / 2; ++i) multiply_add(a + 2 * i, b + i * 64, panel_stride, sum);
      a += kRows * kHalfChunk;
      b += kHalfChunk / 2 * 64;
    }
    for (; left > 0; --left, a += 2, b += 64) multiply_add(a, b, panel_stride, sum);
    if (pairs == 0 && out.columns == kWidth) return finish<kRows, kPanels>(sum, from, row_floats, out);
    flush<kRows, kPanels>(sum, from, row_floats, sums);
    if (pairs == 0) return store_partial(sums, kRows, kWidth, out);
    from = sums;
    row_floats = kWidth;
  }
}

constexpr int kPanelSizes = 3;  // 1, 2, 4

struct Kernels {
  HalfTileKernel of[HalfTiles::kRows + 1][kPanelSizes];
};

template <int kRows, int kLog>
constexpr void fill(Kernels& kernels) {
  if constexpr ((1 << kLog) <= HalfTiles::most_panels(kRows)) {
    kernels.of[kRows][kLog] = tile<kRows, 1 << kLog>;
    fill<kRows, kLog + 1>(kernels);
  } else if constexpr (kRows < HalfTiles::kRows) {
    fill<kRows + 1, 0>(kernels);
  }
}

constexpr Kernels make_kernels() {
  Kernels kernels{};
  fill<1, 0>(kernels);
  return kernels;
}
constexpr Kernels kKernels = make_kernels();

}  // namespace

HalfTileKernel HalfTiles::kernel(int rows, int panels, int) { return kKernels.of[rows][__builtin_ctz(panels)]; }

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
