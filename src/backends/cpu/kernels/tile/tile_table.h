// The register tiles of one arithmetic, for every number of rows and panels. Internal to kernels/tile and
// kernels/bfloat, for files compiled per level only.
#pragma once
#include "backends/cpu/kernels/tile/half_tile.h"
#include "backends/cpu/kernels/tile/tile_body.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

template <class Arithmetic, int kRows, int kPanels>
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
    for (int i = 0; i < kTileChunk; ++i) multiply_add<Arithmetic>(a + i, b + i * 16, panel_stride, sum);
    a += kRows * kTileChunk;
    b += 16 * kTileChunk;
  }
  for (; k > 0; --k, ++a, b += 16) multiply_add<Arithmetic>(a, b, panel_stride, sum);
  store_tile(sum, out);
}

template <class Arithmetic>
struct DenseTiles {
  using Kernel = TileKernel;
  template <int kRows, int kPanels>
  static constexpr Kernel kernel = tile<Arithmetic, kRows, kPanels>;
};

#if defined(__AVX512F__)

struct HalfKernels {
  TileKernel of[kTileRows + 1][2];
};

template <class Arithmetic, int kRows>
constexpr void fill_halves(HalfKernels& kernels) {
  if constexpr (kRows <= kTileRows) {
    kernels.of[kRows][0] = half_tile<Arithmetic, kRows, 0>;
    kernels.of[kRows][1] = half_tile<Arithmetic, kRows, 1>;
    fill_halves<Arithmetic, kRows + 1>(kernels);
  }
}

template <class Arithmetic>
constexpr HalfKernels make_half_kernels() {
  HalfKernels kernels{};
  fill_halves<Arithmetic, 1>(kernels);
  return kernels;
}

#endif

// As tile_kernel.
template <class Arithmetic>
TileKernel tile_kernel_of(int rows, int panels, int columns) {
#if defined(__AVX512F__)
  static constexpr HalfKernels kHalfKernels = make_half_kernels<Arithmetic>();
  if (panels <= 2 && columns <= panels * 16 - kHalfLanes) return kHalfKernels.of[rows][panels - 1];
#endif
  static constexpr auto kKernels = make_tile_table<DenseTiles<Arithmetic>>();
  (void)columns;
  return kKernels(rows, panels);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
