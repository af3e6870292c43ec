// INT8 products on the matrix unit: tiles of 16 rows and 16 columns, 64 of k at once.
#include "backends/cpu/kernels/amx/matrix_unit.h"
#include "backends/cpu/kernels/int8/int8_driver.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

template <int kRowTiles, int kPanels>
void multiply_tiles(const uint8_t* a, int64_t chunk_bytes, const int8_t* b, int64_t panel_bytes, int64_t k,
                    int32_t* sums) {
  zero_tiles<kRowTiles, kPanels>();
  for (; k > 0; k -= kInt8Chunk, a += chunk_bytes, b += kInt8Chunk * kInt8Columns) {
    load_tile<4>(a, kInt8Chunk);
    if constexpr (kRowTiles > 1) load_tile<5>(a + 16 * kInt8Chunk, kInt8Chunk);
    load_tile<6>(b, kInt8Chunk);
    multiply_add_bytes<0, 4, 6>();
    if constexpr (kRowTiles > 1) multiply_add_bytes<2, 5, 6>();
    if constexpr (kPanels > 1) {
      load_tile<7>(b + panel_bytes, kInt8Chunk);
      multiply_add_bytes<1, 4, 7>();
      if constexpr (kRowTiles > 1) multiply_add_bytes<3, 5, 7>();
    }
  }
  constexpr int64_t kPitch = kPanels * 16;
  store_tile_to<0>(sums, kPitch * 4);
  if constexpr (kPanels > 1) store_tile_to<1>(sums + 16, kPitch * 4);
  if constexpr (kRowTiles > 1) store_tile_to<2>(sums + 16 * kPitch, kPitch * 4);
  if constexpr (kRowTiles > 1 && kPanels > 1) store_tile_to<3>(sums + 16 * kPitch + 16, kPitch * 4);
}

struct MatrixTiles {
  using Element = uint8_t;
  static constexpr int kRows = 32;
  static constexpr int most_panels(int) { return 2; }
  static void multiply(const uint8_t* a, int rows, const int8_t* b, int panels, int64_t k, int32_t* sums) {
    const int64_t chunk_bytes = rows * kInt8Chunk, panel_bytes = int8_panel_bytes(k);
    if (rows > 16) {
      (panels > 1 ? multiply_tiles<2, 2> : multiply_tiles<2, 1>)(a, chunk_bytes, b, panel_bytes, k, sums);
    } else {
      (panels > 1 ? multiply_tiles<1, 2> : multiply_tiles<1, 1>)(a, chunk_bytes, b, panel_bytes, k, sums);
    }
  }
};

}  // namespace

void run_int8_product(const Int8Args& args, Share share, void* scratch) {
  configure_tiles();
  run_int8_share<MatrixTiles>(args, share, scratch);
  release_tiles();
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
