// The rows of A in a type of 16 bits: how they go to the scratch tile. Narrow::store(dst, low, high) rounds 32 numbers
// to it. Empty below AVX-512. Internal to kernels/half and kernels/bfloat.
#pragma once
#include "backends/cpu/half_packing.h"
#include "backends/cpu/kernels/tile/tile_gather.h"

#if defined(__AVX512F__)

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// The first n of 32 numbers, zeros behind them.
template <class Narrow>
HUSSAR_INLINE void convert_up_to(uint16_t* dst, const float* source, int n) {
  Narrow::store(dst, load_up_to(source, n), n > kLanes ? load_up_to(source + kLanes, n - kLanes) : set(0.0f));
}

template <class Narrow>
HUSSAR_INLINE void convert_chunk(uint16_t* dst, const float* source) {
  Narrow::store(dst, load(source), load(source + kLanes));
}

HUSSAR_INLINE void zero_chunk(uint16_t* dst) { _mm512_storeu_si512(dst, _mm512_setzero_si512()); }

// Rows of a matrix whose columns are contiguous.
template <class Narrow>
struct PackNarrowRows {
  const float* a;
  int64_t row_stride;
  int64_t k;

  void operator()(int64_t row, int rows, uint16_t* dst) const {
    const int64_t whole = k / kHalfChunk * kHalfChunk;
    for (int r = 0; r < rows; ++r) {
      const float* source = a + (row + r) * row_stride;
      uint16_t* out = dst + r * kHalfChunk;
      for (int64_t i = 0; i < whole; i += kHalfChunk, out += rows * kHalfChunk) convert_chunk<Narrow>(out, source + i);
      if (whole < k) convert_up_to<Narrow>(out, source + whole, static_cast<int>(k - whole));
    }
  }
};

// Writes one row of a tile whose segments are multiples of 32 elements, straight to its place.
template <class Narrow>
struct NarrowChunkWriter {
  uint16_t* dst;
  int64_t chunk_stride;  // from 32 elements of the row to the next 32

  void copy(const float* source, int64_t count) {
    for (int64_t i = 0; i < count; i += kHalfChunk, dst += chunk_stride) convert_chunk<Narrow>(dst, source + i);
  }
  void zero(int64_t count) {
    for (int64_t i = 0; i < count; i += kHalfChunk, dst += chunk_stride) zero_chunk(dst);
  }
};

// Writes one row as a line, and up to a vector of garbage behind it.
template <class Narrow>
struct NarrowLineWriter {
  uint16_t* dst;

  void copy(const float* source, int64_t count) {
    int64_t i = 0;
    for (; i + kHalfChunk <= count; i += kHalfChunk) convert_chunk<Narrow>(dst + i, source + i);
    if (i < count) convert_up_to<Narrow>(dst + i, source + i, static_cast<int>(count - i));
    dst += count;
  }
  void zero(int64_t count) {
    for (int64_t i = 0; i < count; i += kHalfChunk) zero_chunk(dst + i);
    dst += count;
  }
};

// For WindowPacker (tile_gather.h).
template <class Narrow>
struct NarrowForm {
  using Source = float;
  using Element = uint16_t;
  static NarrowChunkWriter<Narrow> chunks(uint16_t* dst, int64_t chunk_stride) { return {dst, chunk_stride}; }
  static NarrowLineWriter<Narrow> line(uint16_t* dst) { return {dst}; }
  static constexpr int64_t kChunk = kHalfChunk;
  static constexpr int64_t line_elements(int64_t k) { return half_line_elements(k); }
  static constexpr int64_t line_count(int64_t k) { return half_line_count(k); }
  static void copy_chunk(uint16_t* dst, const uint16_t* line) { _mm512_storeu_si512(dst, _mm512_loadu_si512(line)); }
  // The partner of a last odd k.
  static void close_line(uint16_t* end) { *end = 0; }
};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE

#endif
