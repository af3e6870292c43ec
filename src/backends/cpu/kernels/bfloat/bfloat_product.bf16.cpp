#include "backends/cpu/kernels/bfloat/bfloat_product.h"

#include "backends/cpu/bfloat_packing.h"
#include "backends/cpu/kernels/half/narrow_product.h"
#include "backends/cpu/kernels/tile/tile_table.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// For narrow_rows.h. To nearest even.
struct Bfloats {
  static HUSSAR_INLINE void store(uint16_t* p, Vec low, Vec high) {
    _mm512_storeu_si512(p, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.v, low.v)));
  }
};

// For tile_table.h: a float of A or B is the bits of a pair.
struct BfloatPairs {
  static HUSSAR_INLINE TileVec step(TileVec a, TileVec b, TileVec sum) {
    return {_mm512_dpbf16_ps(sum.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(b.v))};
  }
  static HUSSAR_INLINE __m256 step(__m256 a, __m256 b, __m256 sum) {
    return _mm256_dpbf16_ps(sum, reinterpret_cast<__m256bh>(a), reinterpret_cast<__m256bh>(b));
  }
};

struct PairKernel {
  TileKernel kernel;
  void operator()(const uint16_t* a, const uint16_t* b, int64_t panel_stride, int64_t k, const TileOutput& out) const {
    kernel(reinterpret_cast<const float*>(a), reinterpret_cast<const float*>(b), panel_stride / 2, (k + 1) / 2, out);
  }
};

// For run_tiles (tile_core.h).
struct BfloatTiles {
  using Element = uint16_t;
  static constexpr int64_t kColumns = kPanelColumns;
  static constexpr int64_t kChunk = kHalfChunk;
  static constexpr int kRows = kTileRows;
  static constexpr int kMostFloats = kTileFloats;
  static constexpr int64_t kBlock = kHalfBlock;
  static constexpr int most_panels(int rows) { return max_panels(rows); }
  static int64_t panel_elements(int64_t k) { return bfloat_panel_elements(k); }
  static PairKernel kernel(int rows, int panels, int columns) {
    return {tile_kernel_of<BfloatPairs>(rows, panels, columns)};
  }
  static constexpr bool kPrefetch = true;
};

}  // namespace

void run_bfloat_product(const BfloatArgs& args, Share share, void* scratch) {
  run_narrow_share<BfloatTiles, Bfloats>(args.conv, args.weights, share, scratch);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
