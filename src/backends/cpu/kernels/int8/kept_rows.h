// Gathers of the rows of A what a block of sparse columns keeps (sparse_packing.h), in the order of the packed form.
// Internal to kernels/int8 and kernels/half, for files compiled per level only.
#pragma once
#include <immintrin.h>

#include "backends/cpu/simd/vec.h"
#include "backends/cpu/sparse_packing.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// Rows of A: chunk c of row r at data + c * chunk_bytes + r * row_bytes.
struct ByteRows {
  const uint8_t* data;
  int64_t chunk_bytes, row_bytes;
};

// ---- keeping bytes: `pair` makes 64 of two chunks, `lonely` 32 of one, from their part of the index ----------------

template <class Element>
struct Keep {
  static void pair(const uint8_t* first, const uint8_t* second, const uint8_t* index, Element* out) {
    for (int i = 0; i < 64; ++i) out[i] = (i % 16 < 8 ? first : second)[i / 16 * 16 + (index[i] & 15)];
  }
  static void lonely(const uint8_t* chunk, const uint8_t* index, Element* out) {
    for (int i = 0; i < 32; ++i) out[i] = chunk[i / 8 * 16 + (index[i / 8 * 16 + i % 8] & 15)];
  }
};

#if defined(__AVX512BW__)
template <>
struct Keep<uint8_t> {
  static HUSSAR_INLINE void pair(const uint8_t* first, const uint8_t* second, const uint8_t* index, uint8_t* out) {
    const __m512i places = _mm512_loadu_si512(index);
    const __m512i kept = _mm512_shuffle_epi8(_mm512_loadu_si512(first), places);
    constexpr __mmask64 kSecond = 0xff00ff00ff00ff00;
    _mm512_storeu_si512(out, _mm512_mask_shuffle_epi8(kept, kSecond, _mm512_loadu_si512(second), places));
  }
  static HUSSAR_INLINE void lonely(const uint8_t* chunk, const uint8_t* index, uint8_t* out) {
    const __m512i kept = _mm512_shuffle_epi8(_mm512_loadu_si512(chunk), _mm512_loadu_si512(index));
    const __m512i in_order = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6), kept);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_castsi512_si256(in_order));
  }
};
#endif

#if defined(__AVX2__)
template <>
struct Keep<uint16_t> {
  static HUSSAR_INLINE __m256i load(const uint8_t* bytes) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
  }
  static HUSSAR_INLINE void widen(__m128i bytes, uint16_t* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_cvtepu8_epi16(bytes));
  }
  static HUSSAR_INLINE void pair(const uint8_t* first, const uint8_t* second, const uint8_t* index, uint16_t* out) {
    for (int i = 0; i < 64; i += 32) {
      const __m256i places = load(index + i);
      const __m256i kept = _mm256_blend_epi16(_mm256_shuffle_epi8(load(first + i), places),
                                              _mm256_shuffle_epi8(load(second + i), places), 0xf0);
      widen(_mm256_castsi256_si128(kept), out + i);
      widen(_mm256_extracti128_si256(kept, 1), out + i + 16);
    }
  }
  static HUSSAR_INLINE void lonely(const uint8_t* chunk, const uint8_t* index, uint16_t* out) {
    for (int i = 0; i < 64; i += 32) {
      const __m256i kept = _mm256_shuffle_epi8(load(chunk + i), load(index + i));
      widen(_mm256_castsi256_si128(_mm256_permute4x64_epi64(kept, 0x08)), out + i / 2);
    }
  }
};
#endif

// The kept bytes of `count` rows, to go to out as [ceil(depth / 64)][count][64], what the dense tiles take.
template <class Element>
struct KeptRows {
  ByteRows rows;
  int count;
  const uint8_t* index;
  int64_t k;
  Element* out;

  int64_t chunks() const { return (k + 2 * kInt8Chunk - 1) / (2 * kInt8Chunk); }
  // Rows [begin, end) of 64 kept bytes.
  HUSSAR_INLINE void keep(int64_t chunk, int begin, int end) const {
    const uint8_t* const first = rows.data + 2 * chunk * rows.chunk_bytes;
    Element* to = out + (chunk * count + begin) * kInt8Chunk;
    const uint8_t* const places = index + chunk * kInt8Chunk;
    if (2 * chunk * kInt8Chunk + int8_sparse_tail(k) == k && int8_sparse_tail(k) > 0) {
      for (int r = begin; r < end; ++r, to += kInt8Chunk) Keep<Element>::lonely(first + r * rows.row_bytes, places, to);
      return;
    }
    for (int r = begin; r < end; ++r, to += kInt8Chunk) {
      const uint8_t* const bytes = first + r * rows.row_bytes;
      Keep<Element>::pair(bytes, bytes + rows.chunk_bytes, places, to);
    }
  }
  void keep_all() const {
    for (int64_t chunk = 0; chunk < chunks(); ++chunk) keep(chunk, 0, count);
  }
  // Brings what keep() will read to the L1 cache.
  HUSSAR_INLINE void fetch(int64_t chunk, int begin, int end) const {
    const uint8_t* const first = rows.data + 2 * chunk * rows.chunk_bytes;
    for (int r = begin; r < end; ++r) {
      const auto* const bytes = reinterpret_cast<const char*>(first + r * rows.row_bytes);
      _mm_prefetch(bytes, _MM_HINT_T0);
      _mm_prefetch(bytes + rows.chunk_bytes, _MM_HINT_T0);
    }
  }
};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
