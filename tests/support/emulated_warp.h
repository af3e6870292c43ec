// What the instructions of device/product_ampere.cuh do, as the tables of the PTX ISA ("Warp level matrix
// multiply-accumulate instructions") have it. Copies are there at once.
#pragma once
#include "emulated_cuda.h"

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// Addresses of shared memory count from its begin, in each block of a cluster.
inline unsigned long __cvta_generic_to_shared(const void* address) {
  return static_cast<unsigned long>(static_cast<const unsigned char*>(address) - hussar_own_shared());
}
inline void hussar_copy_chunk(unsigned to, const void* from, bool inside) {
  if (inside)
    memcpy(hussar_own_shared() + to, from, 16);
  else
    memset(hussar_own_shared() + to, 0, 16);
}
inline unsigned hussar_load_word(unsigned from) {
  unsigned word = 0;
  memcpy(&word, hussar_own_shared() + from, 4);
  return word;
}

// What the threads of a warp have brought to an instruction, one after the other.
struct HussarGiven {
  unsigned a[4], b[4], where;
};
inline HussarGiven hussar_given[hussar_emulation::kMostThreads];
inline const HussarGiven* hussar_give(const HussarGiven& mine) {
  hussar_given[hussar_machine.number] = mine;
  __syncwarp();
  return hussar_given + (hussar_machine.number & ~31U);
}

// Thread l brings the address of row l % 8 of matrix l / 8, of 8 rows of 16 bytes, and gets 4 bytes of each matrix.
inline void hussar_load_matrices(unsigned (&to)[4], unsigned from) {
  const HussarGiven* warp = hussar_give({{from}, {}, 0});
  const unsigned lane = threadIdx.x & 31U;
  for (unsigned i = 0; i < 4; ++i) to[i] = hussar_load_word(warp[8 * i + lane / 4].a[0] + lane % 4 * 4);
  __syncwarp();
}

// The same of elements of 2 bytes, with rows and columns exchanged: two that were above one another.
inline void hussar_load_turned(unsigned (&to)[4], unsigned from) {
  const HussarGiven* warp = hussar_give({{from}, {}, 0});
  const unsigned lane = threadIdx.x & 31U;
  for (unsigned i = 0; i < 4; ++i) {
    unsigned short pair[2];
    for (unsigned j = 0; j < 2; ++j)
      memcpy(&pair[j], hussar_own_shared() + warp[8 * i + lane % 4 * 2 + j].a[0] + lane / 4 * 2, 2);
    to[i] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
  }
  __syncwarp();
}

inline float hussar_number(unsigned short bits) { return static_cast<float>(__builtin_bit_cast(_Float16, bits)); }
inline float hussar_number(float number) { return number; }
template <class Number>
float hussar_number(Number number) {
  return to_float(number);
}
// FP8: a sign, four bits of exponent, three of mantissa; up to 448, and NaN.
struct HussarFloat8 {
  unsigned char bits;
};
inline float hussar_number(HussarFloat8 number) {
  const int bits = number.bits & 0x7f, exponent = bits >> 3, mantissa = bits & 7;
  float magnitude = static_cast<float>(exponent == 0 ? mantissa : 8 + mantissa) / 512;  // in steps of 2^-9
  for (int i = 1; i < exponent; ++i) magnitude *= 2;
  if (bits == 0x7f) magnitude = __builtin_nanf("");
  return number.bits > 0x7f ? -magnitude : magnitude;
}
template <class Element>
constexpr bool kHussarIsInteger = false;
template <>
constexpr bool kHussarIsInteger<unsigned char> = true;
template <>
constexpr bool kHussarIsInteger<signed char> = true;

// An element of a 16 x 32-byte left operand, of whatever size its elements have.
template <class Element>
inline Element hussar_left(const HussarGiven* warp, int row, int element) {
  const int byte = element * static_cast<int>(sizeof(Element));
  const unsigned word = warp[row % 8 * 4 + byte % 16 / 4].a[byte / 16 * 2 + row / 8];
  Element value;
  memcpy(&value, reinterpret_cast<const unsigned char*>(&word) + byte % 4, sizeof(value));
  return value;
}
// An element of a right operand of 8 columns.
template <class Element>
inline Element hussar_right(const HussarGiven* warp, int column, int element) {
  const int byte = element * static_cast<int>(sizeof(Element));
  const unsigned word = warp[column * 4 + byte % 16 / 4].b[byte / 16];
  Element value;
  memcpy(&value, reinterpret_cast<const unsigned char*>(&word) + byte % 4, sizeof(value));
  return value;
}

// Calls add(sum, row, column) for the thread's four sums.
template <class Sum, class Add>
inline void hussar_for_sums(Sum (&sum)[4], Add add) {
  const int lane = static_cast<int>(threadIdx.x & 31U);
  for (int i = 0; i < 4; ++i) add(sum[i], lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2);
  __syncwarp();
}

// The dense product of 16 x 32 and 32 x 8 bytes, each side with or without a sign.
template <class Left, class Right>
inline void hussar_multiply_bytes(int (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  const HussarGiven* warp = hussar_give({{a[0], a[1], a[2], a[3]}, {b0, b1}, 0});
  hussar_for_sums(sum, [&](int& to, int row, int column) {
    for (int k = 0; k < 32; ++k) to += hussar_left<Left>(warp, row, k) * hussar_right<Right>(warp, column, k);
  });
}

// The dense product of 16 x 32 and 32 x 8 bytes: of either sign by signed ones, or of FP8, halves, BF16 or floats.
template <class Element, class Sum>
inline void hussar_multiply(Sum (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  const HussarGiven* warp = hussar_give({{a[0], a[1], a[2], a[3]}, {b0, b1}, 0});
  hussar_for_sums(sum, [&](Sum& to, int row, int column) {
    for (int k = 0; k < 32 / static_cast<int>(sizeof(Element)); ++k) {
      if constexpr (kHussarIsInteger<Element>)
        to += hussar_left<Element>(warp, row, k) * hussar_right<signed char>(warp, column, k);
      else
        to += hussar_number(hussar_left<Element>(warp, row, k)) * hussar_number(hussar_right<Element>(warp, column, k));
    }
  });
}

// The two bits that say where kept element `element` of a row was, of four. With bytes all threads have words, with
// halves those that the selector says.
template <class Element>
inline int hussar_place(const HussarGiven* warp, int row, int element, int selector) {
  const int group = element / 2;
  unsigned bits = 0;
  if (sizeof(Element) == 1)
    bits = warp[row % 8 * 4 + group / 8 * 2 + row / 8].where >> group % 8 * 4;
  else
    bits = warp[row % 8 * 4 + selector * 2 + group / 4].where >> (row / 8 * 16 + group % 4 * 4);
  if ((bits & 3U) >= (bits >> 2 & 3U)) __builtin_trap();  // places ascend
  return group * 4 + static_cast<int>(bits >> element % 2 * 2 & 3U);
}

// The product of 16 x 32 bytes that are kept and 64 x 8: signed bytes by those of either sign, or of FP8, halves or
// BF16.
template <class Element, class Sum>
inline void hussar_multiply_sparse(Sum (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[4], unsigned where,
                                   int selector) {
  const HussarGiven* warp = hussar_give({{a[0], a[1], a[2], a[3]}, {b[0], b[1], b[2], b[3]}, where});
  hussar_for_sums(sum, [&](Sum& to, int row, int column) {
    for (int i = 0; i < 32 / static_cast<int>(sizeof(Element)); ++i) {
      const int k = hussar_place<Element>(warp, row, i, selector);
      if constexpr (kHussarIsInteger<Element>)
        to += hussar_left<signed char>(warp, row, i) * hussar_right<Element>(warp, column, k);
      else
        to += hussar_number(hussar_left<Element>(warp, row, i)) * hussar_number(hussar_right<Element>(warp, column, k));
    }
  });
}
