#include "backends/cpu/kernels/tile/tile_kernels.h"

#include "backends/cpu/kernels/tile/half_tile.h"
#include "backends/cpu/kernels/tile/tile_body.h"
#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

void store_rows(const float* sums, int rows, int width, const TileOutput& out) {
  const Vec low = set(out.low), high = set(out.high);
  for (int r = 0; r < rows; ++r) {
    for (int column = 0; column < out.columns; column += kLanes) {
      const int left = out.columns - column;
      Vec y = load_up_to(sums + r * width + column, left);
      if (out.residual != nullptr) y = y + load_up_to(out.residual + r * out.residual_pitch + column, left);
      y = clamp(y, low, high);
      if (out.hard_swish) y = hard_swish(y, set(out.scale), set(out.shift));
      store_up_to(out.c + r * out.c_pitch + column, y, left);
    }
  }
}

namespace {

template <int kRows, int kPanels>
void tile(const float* a, const float* b, int64_t panel_stride, int64_t k, const TileOutput& out) {
  constexpr int kVecs = kPanels * kVecsPerPanel;
  TileVec sum[kRows][kVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) sum[r][v] = tile_load(out.bias + v * kTileLanes);
  }
  const float* ahead = out.ahead;
  for (; k >= kTileChunk; k -= kTileChunk) {
    for (int i = 0; i < out.ahead_lines; ++i, ahead += 16) __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 4
    for (int i = 0; i < kTileChunk; ++i) multiply_add(a + i, b + i * 16, panel_stride, sum);
    a += kRows * kTileChunk;
    b += 16 * kTileChunk;
  }
  for (; k > 0; --k, ++a, b += 16) multiply_add(a, b, panel_stride, sum);
  store_tile(sum, out);
}

template <int kStep, int kPanels>
void line_tile(const LineTile& in, const TileOutput& out) {
  constexpr int kVecs = kPanels * kVecsPerPanel;
  TileVec sum[kTileRows][kVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) sum[r][v] = tile_load(out.bias + v * kTileLanes);
  }
  const float* b = in.b;
  for (int64_t line = 0; line < in.lines; ++line) {
    const float* a = in.a + line * in.line_stride;
    for (int64_t i = 0; i < in.run; ++i, ++a, b += 16) {
      TileVec column[kVecs];
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        column[v] = tile_load(b + (v / kVecsPerPanel) * in.panel_stride + (v % kVecsPerPanel) * kTileLanes);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kTileRows; ++r) {
        const TileVec row = tile_set(a[r * kStep]);
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v) sum[r][v] = fma(row, column[v], sum[r][v]);
      }
    }
  }
  store_tile(sum, out);
}

template <int kStep>
LineKernel line_kernel_of(int panels) {
  if (panels == 1) return line_tile<kStep, 1>;
  if constexpr (max_panels(kTileRows) >= 2) {
    if (panels == 2) return line_tile<kStep, 2>;
  }
  return nullptr;
}

struct DenseTiles {
  using Kernel = TileKernel;
  template <int kRows, int kPanels>
  static constexpr Kernel kernel = tile<kRows, kPanels>;
};
constexpr auto kKernels = make_tile_table<DenseTiles>();

#if defined(__AVX512F__)

struct HalfKernels {
  TileKernel of[kTileRows + 1][2];
};

template <int kRows>
constexpr void fill_halves(HalfKernels& kernels) {
  if constexpr (kRows <= kTileRows) {
    kernels.of[kRows][0] = half_tile<kRows, 0>;
    kernels.of[kRows][1] = half_tile<kRows, 1>;
    fill_halves<kRows + 1>(kernels);
  }
}

constexpr HalfKernels make_half_kernels() {
  HalfKernels kernels{};
  fill_halves<1>(kernels);
  return kernels;
}
constexpr HalfKernels kHalfKernels = make_half_kernels();

#endif

}  // namespace

TileKernel tile_kernel(int rows, int panels, int columns) {
#if defined(__AVX512F__)
  if (panels <= 2 && columns <= panels * 16 - kHalfLanes) return kHalfKernels.of[rows][panels - 1];
#endif
  (void)columns;
  return kKernels(rows, panels);
}

LineKernel line_kernel(int64_t step, int panels) {
  switch (step) {
    case 1: return line_kernel_of<1>(panels);
    case 2: return line_kernel_of<2>(panels);
    case 3: return line_kernel_of<3>(panels);
    case 4: return line_kernel_of<4>(panels);
    case 6: return line_kernel_of<6>(panels);
    case 8: return line_kernel_of<8>(panels);
    default: return nullptr;
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
