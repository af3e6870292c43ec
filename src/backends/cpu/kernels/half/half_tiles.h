// The register tiles of FP16: `rows` rows of A times `panels` panels of B, all k at once. Internal to kernels/half.
#pragma once
#include "backends/cpu/half_packing.h"
#include "backends/cpu/kernels/tile/tile_kernels.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// a: [ceil(k / 32)][rows][32] with zeros from k to the next even number, b: the first panel, the next ones panel_stride
// elements apart.
using HalfTileKernel = void (*)(const uint16_t* a, const uint16_t* b, int64_t panel_stride, int64_t k,
                                const TileOutput& out);

// For run_tiles (tile_core.h).
struct HalfTiles {
  using Element = uint16_t;
  static constexpr int64_t kColumns = kHalfPanelColumns;
  static constexpr int64_t kChunk = kHalfChunk;
  static constexpr int kRows = 14;
  static constexpr int kMostFloats = 14 * kHalfPanelColumns;  // also more than 6 x 2 panels and 3 x 4 panels
  static constexpr int64_t kBlock = kHalfBlock;
  static constexpr int most_panels(int rows) { return rows <= 3 ? 4 : rows <= 6 ? 2 : 1; }
  static int64_t panel_elements(int64_t k) { return half_panel_elements(k); }
  static HalfTileKernel kernel(int rows, int panels, int columns);
  // The kernels prefetch what TileOutput names: weights of blocks of sparse columns, which are multiplied in half the
  // time. run_tiles names none.
  static constexpr bool kPrefetch = false;
};
static_assert(HalfTiles::kRows <= kTileRowsLimit);

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
