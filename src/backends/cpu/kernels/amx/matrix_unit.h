// The matrix unit's eight tile registers as the products use them: 0 to 3 hold sums [row tile][panel], 4 and 5 the row
// tiles of A, 6 and 7 the panels of B. With HUSSAR_EMULATE_AMX they are plain memory, so that everything around the
// instructions can be tested where there are none. Internal to kernels/amx and kernels/int8.
#pragma once
#include <immintrin.h>
#include <stdint.h>

#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

#if defined(HUSSAR_EMULATE_AMX)

struct EmulatedTile {
  alignas(64) uint32_t row[16][16];
};
inline thread_local EmulatedTile emulated_tiles[8];

HUSSAR_INLINE void configure_tiles() {}
HUSSAR_INLINE void release_tiles() {}
template <int kTile>
void zero_tile() {
  memset(&emulated_tiles[kTile], 0, sizeof(EmulatedTile));
}
template <int kTile>
void load_tile(const void* from, int64_t row_bytes) {
  for (int r = 0; r < 16; ++r) memcpy(emulated_tiles[kTile].row[r], static_cast<const char*>(from) + r * row_bytes, 64);
}
template <int kTile>
void store_tile_to(void* to, int64_t row_bytes) {
  for (int r = 0; r < 16; ++r) memcpy(static_cast<char*>(to) + r * row_bytes, emulated_tiles[kTile].row[r], 64);
}
inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
template <int kSum, int kA, int kB>
void multiply_add_tile() {
  for (int r = 0; r < 16; ++r) {
    for (int c = 0; c < 16; ++c) {
      float sum = float_of(emulated_tiles[kSum].row[r][c]);
      for (int k = 0; k < 16; ++k) {
        const uint32_t a = emulated_tiles[kA].row[r][k], b = emulated_tiles[kB].row[k][c];
        sum += float_of(a << 16) * float_of(b << 16) + float_of(a & 0xffff0000u) * float_of(b & 0xffff0000u);
      }
      memcpy(&emulated_tiles[kSum].row[r][c], &sum, 4);
    }
  }
}
template <int kSum, int kA, int kB>
void multiply_add_bytes() {
  for (int r = 0; r < 16; ++r) {
    for (int c = 0; c < 16; ++c) {
      uint32_t sum = emulated_tiles[kSum].row[r][c];
      for (int k = 0; k < 64; ++k) {
        const uint32_t a = emulated_tiles[kA].row[r][k / 4] >> k % 4 * 8 & 255;
        const auto b = static_cast<int8_t>(emulated_tiles[kB].row[k / 4][c] >> k % 4 * 8);
        sum += a * static_cast<uint32_t>(int32_t{b});
      }
      emulated_tiles[kSum].row[r][c] = sum;
    }
  }
}

#else

// Every tile 16 rows of 64 bytes, palette 1.
HUSSAR_INLINE void configure_tiles() {
  struct alignas(64) Configuration {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  static constexpr Configuration kConfiguration;
  _tile_loadconfig(&kConfiguration);
}
HUSSAR_INLINE void release_tiles() { _tile_release(); }

// Not the compiler's intrinsics: GCC's take literal register numbers only, and do not say that they touch memory.
template <int kTile>
HUSSAR_INLINE void zero_tile() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
HUSSAR_INLINE void load_tile(const void* from, int64_t row_bytes) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(row_bytes), "i"(kTile) : "memory");
}
template <int kTile>
HUSSAR_INLINE void store_tile_to(void* to, int64_t row_bytes) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(row_bytes), "i"(kTile) : "memory");
}
template <int kSum, int kA, int kB>
HUSSAR_INLINE void multiply_add_tile() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
}
// Unsigned bytes of A, signed ones of B.
template <int kSum, int kA, int kB>
HUSSAR_INLINE void multiply_add_bytes() {
  __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
}

#endif

template <int kRows, int kPanels>
HUSSAR_INLINE void zero_tiles() {
  zero_tile<0>();
  if constexpr (kPanels > 1) zero_tile<1>();
  if constexpr (kRows > 1) zero_tile<2>();
  if constexpr (kRows > 1 && kPanels > 1) zero_tile<3>();
}

template <int kRows, int kPanels>
HUSSAR_INLINE void load_sums(const float* c, int64_t pitch) {
  load_tile<0>(c, pitch * 4);
  if constexpr (kPanels > 1) load_tile<1>(c + 16, pitch * 4);
  if constexpr (kRows > 1) load_tile<2>(c + 16 * pitch, pitch * 4);
  if constexpr (kRows > 1 && kPanels > 1) load_tile<3>(c + 16 * pitch + 16, pitch * 4);
}

template <int kRows, int kPanels>
HUSSAR_INLINE void store_sums(float* c, int64_t pitch) {
  store_tile_to<0>(c, pitch * 4);
  if constexpr (kPanels > 1) store_tile_to<1>(c + 16, pitch * 4);
  if constexpr (kRows > 1) store_tile_to<2>(c + 16 * pitch, pitch * 4);
  if constexpr (kRows > 1 && kPanels > 1) store_tile_to<3>(c + 16 * pitch + 16, pitch * 4);
}

template <int kRows>
HUSSAR_INLINE void load_rows(const uint16_t* a, int64_t row_bytes) {
  load_tile<4>(a, row_bytes);
  if constexpr (kRows > 1) load_tile<5>(a + 8 * row_bytes, row_bytes);
}

template <int kPanels>
HUSSAR_INLINE void load_panels(const uint16_t* b, int64_t stride) {
  load_tile<6>(b, 64);
  if constexpr (kPanels > 1) load_tile<7>(b + stride, 64);
}

template <int kRows, int kPanels>
HUSSAR_INLINE void multiply_add_tiles() {
  multiply_add_tile<0, 4, 6>();
  if constexpr (kPanels > 1) multiply_add_tile<1, 4, 7>();
  if constexpr (kRows > 1) multiply_add_tile<2, 5, 6>();
  if constexpr (kRows > 1 && kPanels > 1) multiply_add_tile<3, 5, 7>();
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
