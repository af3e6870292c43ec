// The walk over tiles of query rows, and the softmax between the two products, for every form of the INT8 tiles.
// Internal to kernels/attention, for files compiled per level only.
#pragma once
#include <immintrin.h>

#include "backends/cpu/kernels/attention/attention_int8.h"
#include "backends/cpu/kernels/int8/byte_panels.h"
#include "backends/cpu/kernels/int8/to_bytes.h"
#include "backends/cpu/simd/bytes.h"
#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// ---- packing -------------------------------------------------------------------------------------------------------

HUSSAR_INLINE void store_signed(int8_t* p, __m128i bytes) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_xor_si128(bytes, _mm_set1_epi8(-128)));
}

// Depths [quad, quad + 16) of 4 keys, of a panel whose first key's first depth is at `out`.
HUSSAR_INLINE void pack_4_keys(const uint8_t* keys, int64_t stride, int8_t* out) {
  const __m128i a = load_16(keys), b = load_16(keys + stride);
  const __m128i c = load_16(keys + 2 * stride), d = load_16(keys + 3 * stride);
  const __m128i ab_low = _mm_unpacklo_epi32(a, b), ab_high = _mm_unpackhi_epi32(a, b);
  const __m128i cd_low = _mm_unpacklo_epi32(c, d), cd_high = _mm_unpackhi_epi32(c, d);
  store_signed(out, _mm_unpacklo_epi64(ab_low, cd_low));
  store_signed(out + 64, _mm_unpackhi_epi64(ab_low, cd_low));
  store_signed(out + 128, _mm_unpacklo_epi64(ab_high, cd_high));
  store_signed(out + 192, _mm_unpackhi_epi64(ab_high, cd_high));
}

inline int8_t signed_byte(uint8_t byte) { return static_cast<int8_t>(byte ^ 0x80); }

inline void pack_attention_keys(const Int8PackArgs& args) {
  const int64_t depth = int8_depth(args.dim);
  for (int64_t first = 0; first < args.key_count; first += kInt8Columns) {
    int8_t* const panel = args.packed_keys + first * depth;
    const int64_t left = args.key_count - first;
    const int keys = static_cast<int>(left < kInt8Columns ? left : kInt8Columns);
    const uint8_t* const source = args.keys + first * args.key_stride;
    const int64_t whole = keys < kInt8Columns ? 0 : args.dim / 16 * 16;
    for (int64_t d = 0; d < whole; d += 16) {
      for (int key = 0; key < kInt8Columns; key += 4) {
        pack_4_keys(source + key * args.key_stride + d, args.key_stride, panel + d * kInt8Columns + key * 4);
      }
    }
    if (whole == depth) continue;
    memset(panel + whole * kInt8Columns, 0, static_cast<size_t>((depth - whole) * kInt8Columns));
    for (int key = 0; key < keys; ++key) {
      for (int64_t d = whole; d < args.dim; ++d) {
        panel[d / 4 * 64 + key * 4 + d % 4] = signed_byte(source[key * args.key_stride + d]);
      }
    }
  }
}

inline void pack_attention_values(const Int8PackArgs& args) {
  const int64_t depth = int8_depth(args.key_count);
  for (int64_t first = 0; first < args.value_dim; first += kInt8Columns) {
    const int64_t left = args.value_dim - first;
    pack_byte_panel(args.values + first, args.value_stride, args.key_count, depth,
                    static_cast<int>(left < kInt8Columns ? left : kInt8Columns), 0x80,
                    args.packed_values + first * depth);
  }
}

// The widest step of at most `left` panels.
inline int panel_step(int widest, int64_t left) {
  while (widest > left) widest /= 2;
  return widest;
}

// A row of zero points, multiplied like any other.
template <class Tiles>
void sum_packed_keys(const Int8PackArgs& args, typename Tiles::Element* row) {
  alignas(64) int32_t sums[1024];
  const int64_t depth = int8_depth(args.dim), panels = int8_panel_count(args.key_count);
  for (int64_t i = 0; i < depth; ++i) row[i] = static_cast<typename Tiles::Element>(args.query_zero_point);
  for (int64_t panel = 0; panel < panels;) {
    const int step = panel_step(Tiles::most_panels(1), panels - panel);
    Tiles::multiply(row, 1, args.packed_keys + panel * depth * kInt8Columns, depth * kInt8Columns, step, args.dim,
                    sums);
    memcpy(args.corrections + panel * kInt8Columns, sums, static_cast<size_t>(step * kInt8Columns) * sizeof(int32_t));
    panel += step;
  }
}

// ---- the softmax ---------------------------------------------------------------------------------------------------

// The memory of one tile.
template <class Element>
struct Int8AttentionTile {
  int rows;
  int64_t first;                   // row of the call
  int64_t keys;                    // that the last row sees
  Element* query;                  // [dim / 64][rows][64]
  int32_t* scores;                 // of each step of panels [rows][step * 16]; become real numbers
  Element* probabilities;          // [keys / 64][rows][64]
  int32_t totals[kInt8RowsLimit];  // of the probabilities
  float inverses[kInt8RowsLimit];  // 1 / total, or 0
};

HUSSAR_INLINE int64_t visible_keys(const Int8AttendArgs& args, int64_t row) {
  const int64_t visible = args.rules.first_limit + row;
  return visible < 0 ? 0 : visible < args.key_count ? visible : args.key_count;
}

// visit(16 scores of the row, first key) for the first `groups` panels.
template <class Tiles, class Visit>
HUSSAR_INLINE void for_scores_of_row(const Int8AttentionTile<typename Tiles::Element>& tile, int r, int64_t groups,
                                     Visit visit) {
  const int64_t panels = int8_panel_count(tile.keys);
  const int widest = Tiles::most_panels(tile.rows);
  for (int64_t panel = 0; panel < groups;) {
    const int step = panel_step(widest, panels - panel);
    int32_t* scores = tile.scores + panel * kInt8Columns * tile.rows + r * step * kInt8Columns;
    for (const int64_t end = panel + step < groups ? panel + step : groups; panel < end; ++panel) {
      visit(scores, panel * kInt8Columns);
      scores += kInt8Columns;
    }
  }
}

// Sums of products become scores, and those of hidden keys minus infinity up to a whole panel. Gives the largest.
// kWide: the mask has an element per key; kOffset: there is a row_offset.
template <class Tiles, bool kWide, bool kOffset>
float finish_scores(const Int8AttendArgs& args, const Int8AttentionTile<typename Tiles::Element>& tile, int r,
                    int32_t row_offset, int64_t limit) {
  const ScoreRules& rules = args.rules;
  const float* const mask = rules.mask == nullptr ? nullptr : rules.mask + (tile.first + r) * rules.mask_row_stride;
  const Vec one_mask = set(mask == nullptr ? 0.0f : *mask), scale = set(args.scale);
  const IVec offset = iset(row_offset);
  const auto score = [&](const int32_t* sums, int64_t key, Vec added) {
    IVec sum = load_ints(sums) - load_ints(args.corrections + key);
    if constexpr (kOffset) sum = sum + offset;
    return fma_once(to_float(sum), scale, added);
  };
  Vec largest = set(-INFINITY);
  for_scores_of_row<Tiles>(tile, r, int8_panel_count(limit), [&](int32_t* sums, int64_t first) {
    float* const x = reinterpret_cast<float*>(sums);
    if (limit - first >= kInt8Columns) {
      for (int i = 0; i < kInt8Columns; i += kLanes) {
        const Vec value = score(sums + i, first + i, kWide ? load(mask + first + i) : one_mask);
        store(x + i, value);
        largest = max_second(value, largest);
      }
      return;
    }
    const int left = static_cast<int>(limit - first);
    for (int i = 0; i < left; i += kLanes) {
      const int lanes = left - i < kLanes ? left - i : kLanes;
      store(x + i, score(sums + i, first + i, kWide ? load_n(mask + first + i, lanes) : one_mask));
    }
    for (int i = left; i < kInt8Columns; ++i) x[i] = -INFINITY;
    for (int i = 0; i < kInt8Columns; i += kLanes) largest = max_second(load(x + i), largest);
  });
  return max_lanes(largest);
}

// round(255 * 2^y) for y <= 0; 0 for NaN.
HUSSAR_INLINE IVec probability_byte(Vec y) {
  // Rounds to integers, and leaves them in the lowest bits.
  constexpr float kMagic = 12582912.0f;
  y = max_second(y, set(-10.0f));
  const Vec shifted = y + set(kMagic);
  const Vec r = y - (shifted - set(kMagic));
  Vec p = set(14.06878091f);  // 255 * 2^r on [-0.5, 0.5]: 7.5e-5
  p = fma_once(p, r, set(61.86584937f));
  p = fma_once(p, r, set(176.7815516f));
  p = fma_once(p, r, set(254.981658f));
  return to_int(from_bits(bits(p) + shift_left<23>(bits(shifted))));
}

HUSSAR_INLINE int32_t sum_of(IVec a) {
  alignas(64) int32_t lanes[kLanes];
  memcpy(lanes, &a, sizeof(lanes));
  int32_t sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

static_assert(kInt8Chunk == 64);

// Scores become probabilities; gives their sum.
template <class Tiles>
int32_t probabilities_of_row(const Int8AttentionTile<typename Tiles::Element>& tile, int r, float largest,
                             int64_t limit) {
  using Element = typename Tiles::Element;
  const int64_t chunk_stride = tile.rows * kInt8Chunk, groups = int8_panel_count(limit);
  Element* const out = tile.probabilities + r * kInt8Chunk;
  const auto place = [&](int64_t key) { return out + (key >> 6) * chunk_stride + (key & (kInt8Chunk - 1)); };
  const Vec shift = set(largest), log2e = set(kLog2E);
  IVec total = iset(0);
  for_scores_of_row<Tiles>(tile, r, groups, [&](const int32_t* scores, int64_t first) {
    const float* const x = reinterpret_cast<const float*>(scores);
    Element* const to = place(first);
    for (int i = 0; i < kInt8Columns; i += kLanes) {
      const IVec p = probability_byte((load(x + i) - shift) * log2e);
      total = total + p;
      store_as(to + i, p);
    }
  });
  for (int64_t key = groups * kInt8Columns; key < int8_depth(tile.keys); key += kInt8Columns)
    memset(place(key), 0, kInt8Columns * sizeof(Element));
  return sum_of(total);
}

// ---- a tile --------------------------------------------------------------------------------------------------------

// What is added to the sums of a row since keys are packed with another zero point.
inline int32_t row_offset_of(const Int8AttendArgs& args, const uint8_t* query) {
  if (args.key_offset == 0) return 0;
  int32_t sum = 0;
  for (int64_t i = 0; i < args.dim; ++i) sum += query[i] - args.query_zero_point;
  return sum * args.key_offset;
}

template <bool kBytes, class Element>
void finish_values(const Int8AttendArgs& args, const Int8AttentionTile<Element>& tile, const int32_t* sums,
                   int64_t width, int64_t column, const ToBytes& to_bytes) {
  const int columns = static_cast<int>(args.value_dim - column < width ? args.value_dim - column : width);
  for (int c = 0; c < columns; c += kLanes) {
    const int left = columns - c;
    const Vec scale = load_up_to(args.value_scales + column + c, left);
    for (int r = 0; r < tile.rows; ++r) {
      const IVec sum = load_ints(sums + r * width + c) + iset(tile.totals[r] * args.value_offset);
      const Vec y = to_float(sum) * scale * set(tile.inverses[r]);
      const int64_t at = (tile.first + r) * args.output_stride + column + c;
      if constexpr (kBytes) {
        to_bytes.store(args.bytes + at, y, left);
      } else {
        store_up_to(args.reals + at, y, left);
      }
    }
  }
}

template <class Tiles>
auto scores_function(const Int8AttendArgs& args) {
  const bool is_wide = args.rules.mask != nullptr && args.rules.mask_column_stride != 0;
  if (args.key_offset != 0) return is_wide ? finish_scores<Tiles, true, true> : finish_scores<Tiles, false, true>;
  return is_wide ? finish_scores<Tiles, true, false> : finish_scores<Tiles, false, false>;
}

template <class Tiles>
void attend_int8_tile(const Int8AttendArgs& args, Int8AttentionTile<typename Tiles::Element>& tile,
                      const ToBytes& to_bytes) {
  using Element = typename Tiles::Element;
  const int64_t key_bytes = int8_depth(args.dim) * kInt8Columns;
  const int64_t value_bytes = int8_depth(args.key_count) * kInt8Columns;
  const int64_t key_panels = int8_panel_count(tile.keys), value_panels = int8_panel_count(args.value_dim);
  const int widest = Tiles::most_panels(tile.rows);
  const uint8_t* const query = args.query + tile.first * args.query_stride;
  for (int r = 0; r < tile.rows; ++r) {
    for (int64_t i = 0; i < args.dim; i += kInt8Chunk) {
      const int64_t left = args.dim - i;
      copy_as(tile.query + i * tile.rows + r * kInt8Chunk, query + r * args.query_stride + i,
              left < kInt8Chunk ? left : kInt8Chunk);
    }
  }
  for (int64_t panel = 0; panel < key_panels;) {
    const int step = panel_step(widest, key_panels - panel);
    Tiles::multiply(tile.query, tile.rows, args.keys + panel * key_bytes, key_bytes, step, args.dim,
                    tile.scores + panel * kInt8Columns * tile.rows);
    panel += step;
  }
  const auto finish = scores_function<Tiles>(args);
  for (int r = 0; r < tile.rows; ++r) {
    const int64_t limit = visible_keys(args, tile.first + r);
    const int32_t offset = row_offset_of(args, query + r * args.query_stride);
    const float largest = finish(args, tile, r, offset, limit);
    const int32_t total = tile.totals[r] = probabilities_of_row<Tiles>(tile, r, largest, limit);
    tile.inverses[r] = total == 0 ? 0.0f : 1.0f / static_cast<float>(total);
  }
  const auto finish_sums = args.bytes != nullptr ? finish_values<true, Element> : finish_values<false, Element>;
  alignas(64) int32_t sums[1024];
  for (int64_t panel = 0; panel < value_panels;) {
    const int step = panel_step(widest, value_panels - panel);
    Tiles::multiply(tile.probabilities, tile.rows, args.values + panel * value_bytes, value_bytes, step, tile.keys,
                    sums);
    finish_sums(args, tile, sums, step * kInt8Columns, panel * kInt8Columns, to_bytes);
    panel += step;
  }
}

// `count` elements at the front of the memory.
template <class T>
T* take(uint8_t*& memory, int64_t count) {
  T* const taken = reinterpret_cast<T*>(memory);
  memory += (count * static_cast<int64_t>(sizeof(T)) + kInt8AttentionSlack + 63) / 64 * 64;
  return taken;
}

template <class Tiles>
void attend_int8(const Int8AttendArgs& args, void* scratch) {
  using Element = typename Tiles::Element;
  auto* memory = static_cast<uint8_t*>(scratch);
  Int8AttentionTile<Element> tile;
  tile.query = take<Element>(memory, Tiles::kRows * int8_depth(args.dim));
  tile.probabilities = take<Element>(memory, Tiles::kRows * int8_depth(args.key_count));
  tile.scores = take<int32_t>(memory, Tiles::kRows * round_to_panel(args.key_count));
  const ToBytes to_bytes(args.output_scale, args.output_zero_point);
  const int64_t tiles = (args.rows + Tiles::kRows - 1) / Tiles::kRows;
  for (int64_t i = 0; i < tiles; ++i) {
    tile.first = args.rows * i / tiles;
    tile.rows = static_cast<int>(args.rows * (i + 1) / tiles - tile.first);
    tile.keys = visible_keys(args, tile.first + tile.rows - 1);
    attend_int8_tile<Tiles>(args, tile, to_bytes);
  }
}

template <class Tiles>
void pack_int8_attention(const Int8PackArgs& args, void* scratch) {
  pack_attention_keys(args);
  pack_attention_values(args);
  sum_packed_keys<Tiles>(args, static_cast<typename Tiles::Element*>(scratch));
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
