// The register tiles: `rows` rows of A times `panels` panels of B, all k at once. Internal to kernels/tile.
#pragma once
#include "backends/cpu/kernels/tile/tile_limits.h"
#include "backends/cpu/kernels/tile/tile_vec.h"
#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

#if defined(__AVX512F__)
constexpr int kTileRows = 14;
// The panels that fit the 32 registers beside the operands: the fewer rows, the more streams of B.
constexpr int max_panels(int rows) { return rows <= 3 ? 8 : rows <= 6 ? 4 : 2; }
#elif defined(__AVX2__)
constexpr int kTileRows = 6;
constexpr int max_panels(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }
#else
constexpr int kTileRows = 3;
constexpr int max_panels(int) { return 1; }
#endif
static_assert(kTileRows <= kTileRowsLimit);
// The largest tile: 14 x 32 floats, also more than 3 x 128 and 6 x 64.
constexpr int kTileFloats = 14 * 32;

// Where a tile goes. bias holds panels * 16 floats; residual may be null; columns <= panels * 16 are stored. For every
// 16 k (of FP16 and BF16: 32), ahead_lines cache lines from `ahead` on are brought to the cache: a part of the panels
// that are used next.
struct TileOutput {
  float* c;
  int64_t c_pitch;
  const float* bias;
  const float* residual;
  int64_t residual_pitch;
  float low;
  float high;
  int columns;
  bool hard_swish = false;  // after the bounds, as hard_swish(y) * scale + shift
  float scale = 1;
  float shift = 0;
  const float* ahead = nullptr;
  int ahead_lines = 0;
};

// a: [ceil(k / 16)][rows][16], b: the first panel, the next ones panel_stride floats apart.
using TileKernel = void (*)(const float* a, const float* b, int64_t panel_stride, int64_t k, const TileOutput& out);

// panels is a power of two, at most max_panels(rows). columns: how many of the panels' columns are wanted; where no
// more than half of the last panel is, and half a vector costs less than a whole one, only that half is computed.
TileKernel tile_kernel(int rows, int panels, int columns);

// A tile of kTileRows rows whose A lies in lines, unpacked: element k of row r at
// a[k / run * line_stride + r * step + k % run]. For the first convolution of a network, whose rows overlap.
struct LineTile {
  const float* a;
  int64_t lines;
  int64_t line_stride;
  int64_t run;
  const float* b;
  int64_t panel_stride;
};
using LineKernel = void (*)(const LineTile& tile, const TileOutput& out);
// Null where there is none for this step. panels is a power of two, at most max_panels(kTileRows).
LineKernel line_kernel(int64_t step, int panels);

// Finishes and stores sums [rows][width], of which out.columns are wanted.
inline void store_rows(const float* sums, int rows, int width, const TileOutput& out) {
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

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
