#include "backends/cpu/kernels/tile/tile_kernels.h"

#include "backends/cpu/kernels/tile/tile_table.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

namespace {

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

}  // namespace

TileKernel tile_kernel(int rows, int panels, int columns) { return tile_kernel_of<Floats>(rows, panels, columns); }

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
