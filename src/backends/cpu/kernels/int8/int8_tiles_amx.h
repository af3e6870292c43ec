// The tiles of INT8 products on the matrix unit: 16 rows and 16 columns, 64 of k at once. Internal to kernels/int8 and
// kernels/attention, for *.amx.cpp files only.
#pragma once
#include "backends/cpu/int8_packing.h"
#include "backends/cpu/kernels/amx/matrix_unit.h"
#include "backends/cpu/kernels/int8/meanwhile.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

constexpr int kMatrixTileRows = 32;

// 64 of k of several rows of A.
struct Chunk {
  const uint8_t* data;
  int64_t row_bytes;  // from a row to the next
};

// chunk_at(i): chunk i of the rows.
template <int kRowTiles, int kPanels, class ChunkAt, class Meanwhile>
void multiply_tiles(ChunkAt chunk_at, int64_t chunks, const int8_t* b, int64_t panel_bytes, int32_t* sums,
                    const Meanwhile& meanwhile) {
  zero_tiles<kRowTiles, kPanels>();
  for (int64_t i = 0; i < chunks; ++i, b += kInt8Chunk * kInt8Columns) {
    const Chunk chunk = chunk_at(i);
    load_tile<4>(chunk.data, chunk.row_bytes);
    if constexpr (kRowTiles > 1) load_tile<5>(chunk.data + 16 * chunk.row_bytes, chunk.row_bytes);
    load_tile<6>(b, kInt8Chunk);
    multiply_add_bytes<0, 4, 6>();
    if constexpr (kRowTiles > 1) multiply_add_bytes<2, 5, 6>();
    if constexpr (kPanels > 1) {
      load_tile<7>(b + panel_bytes, kInt8Chunk);
      multiply_add_bytes<1, 4, 7>();
      if constexpr (kRowTiles > 1) multiply_add_bytes<3, 5, 7>();
    }
    meanwhile(i);
  }
  constexpr int64_t kPitch = kPanels * 16;
  store_tile_to<0>(sums, kPitch * 4);
  if constexpr (kPanels > 1) store_tile_to<1>(sums + 16, kPitch * 4);
  if constexpr (kRowTiles > 1) store_tile_to<2>(sums + 16 * kPitch, kPitch * 4);
  if constexpr (kRowTiles > 1 && kPanels > 1) store_tile_to<3>(sums + 16 * kPitch + 16, kPitch * 4);
}

template <class ChunkAt, class Meanwhile = NothingElse>
void multiply_rows(ChunkAt chunk_at, int64_t rows, int64_t k, const int8_t* b, int64_t panel_bytes, int panels,
                   int32_t* sums, const Meanwhile& meanwhile = {}) {
  const int64_t chunks = int8_depth(k) / kInt8Chunk;
  const auto multiply =
      rows > 16 ? (panels > 1 ? multiply_tiles<2, 2, ChunkAt, Meanwhile> : multiply_tiles<2, 1, ChunkAt, Meanwhile>)
                : (panels > 1 ? multiply_tiles<1, 2, ChunkAt, Meanwhile> : multiply_tiles<1, 1, ChunkAt, Meanwhile>);
  multiply(chunk_at, chunks, b, panel_bytes, sums, meanwhile);
}

// Gathered as [chunk][row][64].
struct GatheredChunks {
  const uint8_t* a;
  int64_t rows;
  Chunk operator()(int64_t i) const { return {a + i * rows * kInt8Chunk, kInt8Chunk}; }
};

struct MatrixTiles {
  using Element = uint8_t;
  static constexpr int kRows = kMatrixTileRows;
  static constexpr bool kMeanwhile = true, kKeepsMeanwhile = true;
  static constexpr int most_panels(int) { return 2; }
  template <class Meanwhile = NothingElse>
  static void multiply(const uint8_t* a, int rows, const int8_t* b, int64_t panel_bytes, int panels, int64_t k,
                       int32_t* sums, const Meanwhile& meanwhile = {}) {
    multiply_rows(GatheredChunks{a, rows}, rows, k, b, panel_bytes, panels, sums, meanwhile);
  }
};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
