#include "backends/cpu/column_weights.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace hussar::cpu {
namespace {

constexpr int64_t kGroup = 4;

// Where kept weight `index` (0 or 1) of a group of a column lies in its panel, in elements, and its code: two bits of a
// byte.
struct KeptAt {
  int64_t weight, code_byte;
  int code_shift;
};

KeptAt kept_at(const float*, int64_t column, int64_t group, int index) {
  constexpr int64_t kChunkFloats = (1 + kColumnChunk / 2) * kColumnColumns;
  const int64_t chunk = group / 8 * kChunkFloats, kept = group % 8 * 2 + index;
  return {chunk + (1 + kept) * kColumnColumns + column, (chunk + column) * 4 + kept / 4,
          static_cast<int>(kept % 4 * 2)};
}

KeptAt kept_at(const int8_t*, int64_t column, int64_t group, int index) {
  constexpr int64_t kChunkBytes = kColumnCodeBytes + kColumnChunk / 2 * kColumnColumns;
  const int64_t chunk = group / 8 * kChunkBytes, step = group % 8 / 2;
  const int64_t byte = column * 4 + group % 2 * 2 + index;
  return {chunk + kColumnCodeBytes + step * kColumnColumns * 4 + byte, chunk + byte, static_cast<int>(step * 2)};
}

int64_t panel_elements(const float*, int64_t k) { return float_column_panel(k); }
int64_t panel_elements(const int8_t*, int64_t k) { return int8_column_panel(k); }

// visit(panel, column in it, column, group)
template <class Visit>
void for_groups(int64_t k, int64_t n, Visit visit) {
  for (int64_t column = 0; column < n; ++column) {
    for (int64_t group = 0; group < k / kGroup; ++group) {
      visit(column / kColumnColumns, column % kColumnColumns, column, group);
    }
  }
}

template <class Number>
void pack(const MatrixView<const Number>& weights, Number* out) {
  const int64_t elements = panel_elements(out, weights.k), panels = column_panels(weights.n);
  std::memset(out, 0, static_cast<size_t>(panels * elements) * sizeof(Number));
  for_groups(weights.k, weights.n, [&](int64_t panel, int64_t place, int64_t column, int64_t group) {
    std::array<Number, kGroup> numbers;
    unsigned nonzero = 0;
    for (int64_t i = 0; i < kGroup; ++i) {
      const Number number = weights.row(group * kGroup + i)[column * weights.column_stride];
      numbers[static_cast<size_t>(i)] = number;
      nonzero |= (number != Number{} ? 1U : 0U) << i;
    }
    const uint8_t places = kept_places(static_cast<uint8_t>(nonzero));
    Number* const target = out + panel * elements;
    for (int index = 0; index < 2; ++index) {
      const KeptAt at = kept_at(out, place, group, index);
      const int code = places >> (2 * index) & 3;
      target[at.weight] = numbers[static_cast<size_t>(code)];
      auto& byte = reinterpret_cast<uint8_t*>(target)[at.code_byte];
      byte = static_cast<uint8_t>(byte | code << at.code_shift);
    }
  });
}

template <class Number>
void unpack(const Number* packed, const MatrixView<Number>& weights) {
  const int64_t elements = panel_elements(packed, weights.k);
  for_groups(weights.k, weights.n, [&](int64_t panel, int64_t place, int64_t column, int64_t group) {
    const Number* const source = packed + panel * elements;
    for (int index = 0; index < 2; ++index) {
      const KeptAt at = kept_at(packed, place, group, index);
      // Codes of a plan may be any: each names a row that exists.
      const int code = reinterpret_cast<const uint8_t*>(source)[at.code_byte] >> at.code_shift & 3;
      weights.row(group * kGroup + code)[column * weights.column_stride] = source[at.weight];
    }
  });
}

}  // namespace

void pack_columns(const MatrixView<const float>& weights, float* out) { pack(weights, out); }

void pack_columns(const MatrixView<const int8_t>& weights, int8_t* out) {
  pack(weights, out);
  const int64_t bytes = int8_column_panel(weights.k);
  for (int64_t column = 0; column < weights.n; ++column) {
    int32_t sum = 0;
    for (int64_t row = 0; row < weights.k; ++row) sum += weights.row(row)[column * weights.column_stride];
    const int64_t end = (column / kColumnColumns + 1) * bytes;
    std::memcpy(out + end - (kColumnColumns - column % kColumnColumns) * 4, &sum, sizeof(sum));
  }
}

void unpack_columns(const float* packed, const MatrixView<float>& weights) { unpack(packed, weights); }
void unpack_columns(const int8_t* packed, const MatrixView<int8_t>& weights) { unpack(packed, weights); }

}  // namespace hussar::cpu
