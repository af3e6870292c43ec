// The walk over blocks, panels and tiles of an INT8 product, and the end of a tile, for every level. Internal to
// kernels/int8, for files compiled per level only.
#pragma once
#include "backends/cpu/int8_packing.h"
#include "backends/cpu/kernels/int8/int8_product.h"
#include "backends/cpu/kernels/int8/meanwhile.h"
#include "backends/cpu/kernels/int8/to_bytes.h"
#include "backends/cpu/kernels/pointwise/byte_program.h"
#include "backends/cpu/kernels/tile/tile_core.h"
#include "backends/cpu/kernels/tile/tile_gather.h"
#include "backends/cpu/simd/bytes.h"
#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

constexpr int kInt8TileSums = 1024;
constexpr int kInt8TileColumns = 128;

// ---- rows of A -----------------------------------------------------------------------------------------------------

// A as bytes or, for AVX2, as 16-bit numbers. Padding is the zero point.
template <class Number>
struct Int8Form {
  using Source = uint8_t;
  using Element = Number;
  uint8_t zero = 0;

  static HUSSAR_INLINE void convert(Number* dst, const uint8_t* source, int64_t count) { copy_as(dst, source, count); }
  static void fill(Number* dst, Number value, int64_t count) {
    for (int64_t i = 0; i < count; ++i) dst[i] = value;
  }

  struct Chunks {
    Number* dst;
    int64_t chunk_stride;
    uint8_t zero_point;
    void copy(const uint8_t* source, int64_t count) {
      for (int64_t i = 0; i < count; i += kInt8Chunk, dst += chunk_stride) convert(dst, source + i, kInt8Chunk);
    }
    void zero(int64_t count) {
      for (int64_t i = 0; i < count; i += kInt8Chunk, dst += chunk_stride) fill(dst, zero_point, kInt8Chunk);
    }
  };
  struct Line {
    Number* dst;
    uint8_t zero_point;
    void copy(const uint8_t* source, int64_t count) {
      convert(dst, source, count);
      dst += count;
    }
    void zero(int64_t count) {
      fill(dst, zero_point, count);
      dst += count;
    }
  };
  Chunks chunks(Number* dst, int64_t chunk_stride) const { return {dst, chunk_stride, zero}; }
  Line line(Number* dst) const { return {dst, zero}; }
  static constexpr int64_t kChunk = kInt8Chunk;
  static constexpr int64_t line_elements(int64_t k) { return int8_line_elements(k); }
  static constexpr int64_t line_count(int64_t k) { return int8_line_count(k); }
  static void copy_chunk(Number* dst, const Number* line) { memcpy(dst, line, kInt8Chunk * sizeof(Number)); }
  // What lies behind k meets weights that are zero.
  static void close_line(Number*) {}
};

template <class Number>
struct PackInt8Rows {
  const uint8_t* a;
  int64_t row_stride;
  int64_t k;

  void operator()(int64_t row, int rows, Number* dst) const {
    for (int r = 0; r < rows; ++r) {
      const uint8_t* source = a + (row + r) * row_stride;
      Number* out = dst + r * kInt8Chunk;
      for (int64_t i = 0; i < k; i += kInt8Chunk, out += rows * kInt8Chunk) {
        Int8Form<Number>::convert(out, source + i, k - i < kInt8Chunk ? k - i : kInt8Chunk);
      }
    }
  }
};

// ---- the end of a tile ---------------------------------------------------------------------------------------------

// What the panels of a tile need to become real numbers.
struct Int8Columns {
  alignas(64) int32_t corrections[kInt8TileColumns];  // x_zero_point times the sum of the column's weights
  alignas(64) float scales[kInt8TileColumns];
  alignas(64) float bias[kInt8TileColumns];
  float largest = 0;  // no magnitude of a finished sum is larger, but for NaN
};

// `sums` are those of the weights of the first 16 columns, the next ones sum_stride bytes further. `column` counts over
// the whole output, `wanted` columns of the panels exist.
inline void read_columns(const Int8Args& args, const int8_t* first_sums, int64_t sum_stride, int panels, int64_t column,
                         int wanted, Int8Columns& out) {
  for (int p = 0; p < panels; ++p) {
    int32_t sums[kInt8Columns];
    memcpy(sums, first_sums + p * sum_stride, sizeof(sums));
    for (int i = 0; i < kInt8Columns; ++i) out.corrections[p * kInt8Columns + i] = args.input_zero_point * sums[i];
  }
  for (int i = 0; i < panels * static_cast<int>(kInt8Columns); ++i) {
    const bool exists = i < wanted;
    const float weight_scale = exists && args.weight_scales != nullptr ? args.weight_scales[column + i] : 1.0f;
    out.scales[i] = exists ? args.input_scale * weight_scale : 0.0f;
    out.bias[i] = exists && args.bias != nullptr ? args.bias[column + i] : 0.0f;
  }
  Vec largest = set(0.0f);
  for (int i = 0; i < panels * static_cast<int>(kInt8Columns); i += kLanes) {
    largest = max_second(fma(abs(load(out.scales + i)), set(0x1p31f), abs(load(out.bias + i))), largest);
  }
  alignas(64) float lanes[kLanes];
  store(lanes, largest);
  out.largest = 0;
  for (float lane : lanes) out.largest = lane > out.largest ? lane : out.largest;
}

// Where the columns [column, column + columns) of the output rows [row, row + rows) come from: sums [rows][width].
struct TileSums {
  const int32_t* sums;
  int64_t width, row;
  int rows;
  int64_t column;
  int columns;
  int first_fact = 0;  // of the columns: the place of the first in Int8Columns
};
// The first of them goes to `reals` or to `bytes`, the others are `pitch` apart from row to row.
struct TileTarget {
  float* reals;
  uint8_t* bytes;
  int64_t pitch;
};

// A number as the one that its byte stands for.
struct ToGrid {
  Vec scale, low, high;
  bool rounds;
  explicit ToGrid(const Int8Grid& grid)
      : scale(set(grid.scale)),
        low(set(static_cast<float>(-grid.zero_point))),
        high(set(static_cast<float>(255 - grid.zero_point))),
        rounds(grid.scale != 0) {}
  HUSSAR_INLINE Vec operator()(Vec y) const { return rounded(clamp(round(y / scale), low, high) * scale); }
};

// What follows the bounds.
enum class Activation : uint8_t { kNone, kHardSwish, kFactors };

// The end of a tile, but for a program: what a column needs stays in registers. kRare: also what only few products
// have, corrections of rows, a term of rank one, a bias of the epilogue, a residual of real numbers, sums that are
// fake-quantized, and bounds that NaN passes on its way to a lower byte.
template <bool kRare, bool kResidual, Activation kActivation, bool kBytes>
void finish_columns(const Int8Args& args, const Int8Columns& facts, const TileSums& tile, const TileTarget& target) {
  const Epilogue& epilogue = args.conv.epilogue;
  const ToBytes to_bytes(args.output_scale, args.output_zero_point);
  constexpr bool kOneBound = kBytes && kActivation == Activation::kNone && !kRare;
  const auto bound = [&](float y) {
    if (!kOneBound) return y;
    return y < to_bytes.least ? to_bytes.least : y > to_bytes.most ? to_bytes.most : y;
  };
  const Vec low = set(bound(epilogue.low)), high = set(bound(epilogue.high));
  const Vec residual_scale = set(args.residual_scale);
  const ToGrid grid(args.grid), biased_grid(args.grid_of_biased), residual_grid(args.grid_of_residual);
  const IVec residual_zero = iset(args.residual_zero_point);
  // Copies: for all that the compiler knows, a byte that is stored may be a part of `tile`.
  const int rows = tile.rows, columns = tile.columns;
  const int64_t width = tile.width, pitch = target.pitch;
  for (int c = 0; c < columns; c += kLanes) {
    const int left = columns - c;
    const int64_t column = tile.column + c;
    const int32_t* sums = tile.sums + c;
    const uint8_t* residual = kResidual ? args.residual + tile.row * args.residual_pitch + column : nullptr;
    const int64_t residual_pitch = args.residual_pitch;
    uint8_t* bytes = kBytes ? target.bytes + c : nullptr;
    float* reals = kBytes ? nullptr : target.reals + c;
    const IVec correction = load_ints(facts.corrections + tile.first_fact + c);
    const Vec scale = load(facts.scales + tile.first_fact + c), bias = load(facts.bias + tile.first_fact + c);
    const Vec factor = epilogue.scales ? load_up_to(epilogue.scales + column, left) : set(epilogue.scale);
    const Vec row_factor = kRare && args.row_term ? load_up_to(args.row_factors + column, left) : set(0.0f);
    const Vec shift = epilogue.shifts ? load_up_to(epilogue.shifts + column, left) : set(epilogue.shift);
    for (int r = 0; r < rows; ++r, sums += width) {
      IVec sum = load_ints(sums) - correction;
      if constexpr (kRare) {
        if (args.row_corrections != nullptr) sum = sum - iset(args.row_corrections[tile.row + r]);
      }
      Vec y = fma_once(to_float(sum), scale, bias);
      if constexpr (kRare) {
        if (args.row_term != nullptr)
          y = y + rounded(set(args.row_term[(tile.row + r) * args.row_term_stride]) * row_factor);
        if (grid.rounds) y = grid(y);
        if (epilogue.bias != nullptr) y = y + load_up_to(epilogue.bias + column, left);
        if (biased_grid.rounds) y = biased_grid(y);
        if (epilogue.residual != nullptr)
          y = y + load_up_to(epilogue.residual + (tile.row + r) * epilogue.residual_pitch + column, left);
        if (residual_grid.rounds) y = residual_grid(y);
      }
      if constexpr (kResidual) {
        y = y + rounded(to_float(load_bytes_up_to(residual, left) - residual_zero) * residual_scale);
        residual += residual_pitch;
      }
      y = kOneBound ? min_second(high, max_second(y, low)) : clamp(y, low, high);
      if constexpr (kActivation == Activation::kHardSwish) y = hard_swish(y, factor, shift);
      if constexpr (kActivation == Activation::kFactors) y = y * factor;
      if constexpr (kOneBound) {
        to_bytes.store_bounded(bytes, y, left);
      } else if constexpr (kBytes) {
        to_bytes.store(bytes, y, left);
      } else {
        store_up_to(reals, y, left);
      }
      if constexpr (kBytes) {
        bytes += pitch;
      } else {
        reals += pitch;
      }
    }
  }
}
#if defined(__AVX512F__)

// The same of whole rows of kVecs * 16 columns where nothing comes between the sums and the bytes: packing saturates,
// so there are no bounds, and a row is one store.
template <int kVecs>
void finish_rows(const Int8Args& args, const Int8Columns& facts, const TileSums& tile, const TileTarget& target) {
  static_assert(kVecs == 2 || kVecs == 4);
  const ToBytes to_bytes(args.output_scale, args.output_zero_point);
  IVec correction[kVecs];
  Vec scale[kVecs], bias[kVecs];
  for (int v = 0; v < kVecs; ++v) {
    correction[v] = load_ints(facts.corrections + tile.first_fact + v * kLanes);
    scale[v] = load(facts.scales + tile.first_fact + v * kLanes);
    bias[v] = load(facts.bias + tile.first_fact + v * kLanes);
  }
  const __m512i zero_point = _mm512_set1_epi16(static_cast<int16_t>(args.output_zero_point));
  // Of four columns each: from [16 bytes of the vectors side by side] to [vector].
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const int32_t* sums = tile.sums;
  uint8_t* bytes = target.bytes;
  const int rows = tile.rows;
  const int64_t width = tile.width, pitch = target.pitch;
  for (int r = 0; r < rows; ++r, sums += width, bytes += pitch) {
    __m512i whole[kVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      const IVec sum = load_ints(sums + v * kLanes) - correction[v];
      whole[v] = to_bytes.to_integers(fma_once(to_float(sum), scale[v], bias[v])).v;
    }
    const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(whole[0], whole[1]), zero_point);
    const __m512i high =
        kVecs == 2 ? low : _mm512_adds_epi16(_mm512_packs_epi32(whole[kVecs - 2], whole[kVecs - 1]), zero_point);
    const __m512i row = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
    if constexpr (kVecs == 2) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), _mm512_castsi512_si256(row));
    } else {
      _mm512_storeu_si512(bytes, row);
    }
  }
}

// Whether finish_rows gives the same: the bounds are those of the bytes, and quotients are integers of 32 bits.
inline bool packs_rows(const Int8Args& args, const Int8Columns& facts, const TileSums& tile) {
  const ToBytes to_bytes(args.output_scale, args.output_zero_point);
  const Epilogue& epilogue = args.conv.epilogue;
  return (tile.columns == 2 * kLanes || tile.columns == 4 * kLanes) && epilogue.low <= to_bytes.least &&
         epilogue.high >= to_bytes.most && facts.largest < args.output_scale * 0x1p30f;
}

#else

inline bool packs_rows(const Int8Args&, const Int8Columns&, const TileSums&) { return false; }
template <int kVecs>
void finish_rows(const Int8Args&, const Int8Columns&, const TileSums&, const TileTarget&) {}

#endif

using FinishColumns = void (*)(const Int8Args&, const Int8Columns&, const TileSums&, const TileTarget&);
template <bool kRare, bool kResidual, bool kBytes>
constexpr FinishColumns kByActivation[] = {finish_columns<kRare, kResidual, Activation::kNone, kBytes>,
                                           finish_columns<kRare, kResidual, Activation::kHardSwish, kBytes>,
                                           finish_columns<kRare, kResidual, Activation::kFactors, kBytes>};
// [residual][bytes][activation]
template <bool kRare>
constexpr const FinishColumns* kFinishColumns[2][2] = {
    {kByActivation<kRare, false, false>, kByActivation<kRare, false, true>},
    {kByActivation<kRare, true, false>, kByActivation<kRare, true, true>}};

// Nothing but the corrections.
inline void store_sums(const Int8Args& args, const Int8Columns& facts, const TileSums& tile) {
  const int64_t pitch = args.conv.output_pitch;
  int32_t* const out = args.sums + tile.row * pitch + tile.column;
  for (int r = 0; r < tile.rows; ++r) {
    const IVec lacks = iset(args.row_corrections != nullptr ? args.row_corrections[tile.row + r] : 0);
    for (int c = 0; c < tile.columns; c += kLanes) {
      const IVec sum = load_ints(tile.sums + r * tile.width + c) - load_ints(facts.corrections + tile.first_fact + c);
      store_up_to(reinterpret_cast<float*>(out + r * pitch + c), from_bits(sum - lacks), tile.columns - c);
    }
  }
}

// Ends the tile, and runs the program over it.
inline void finish_int8_tile(const Int8Args& args, const Int8Columns& facts, const TileSums& tile) {
  if (args.sums != nullptr) return store_sums(args, facts, tile);
  const Epilogue& epilogue = args.conv.epilogue;
  const int64_t pitch = args.conv.output_pitch, at = tile.row * pitch + tile.column;
  const bool is_real = args.reals != nullptr, has_program = epilogue.program != nullptr;
  alignas(64) float buffer[kInt8TileSums];
  TileTarget target = {is_real ? args.reals + at : nullptr, is_real ? nullptr : args.bytes + at, pitch};
  if (has_program) target = {buffer, nullptr, tile.width};
  const bool is_rare =
      epilogue.residual != nullptr || epilogue.bias != nullptr || args.grid.scale != 0 ||
      args.grid_of_biased.scale != 0 || args.grid_of_residual.scale != 0 || args.row_term != nullptr ||
      args.row_corrections != nullptr ||
      (target.bytes != nullptr && epilogue.low > ToBytes(args.output_scale, args.output_zero_point).least);
  const auto& table = is_rare ? kFinishColumns<true> : kFinishColumns<false>;
  const Activation activation = epilogue.hard_swish          ? Activation::kHardSwish
                                : epilogue.scales != nullptr ? Activation::kFactors
                                                             : Activation::kNone;
  const bool is_plain = !is_rare && args.residual == nullptr && activation == Activation::kNone;
  if (target.bytes != nullptr && is_plain && packs_rows(args, facts, tile)) {
    return (tile.columns == 2 * kLanes ? finish_rows<2> : finish_rows<4>)(args, facts, tile, target);
  }
  const FinishColumns* const functions = table[args.residual != nullptr][target.bytes != nullptr];
  functions[static_cast<size_t>(activation)](args, facts, tile, target);
  if (!has_program) return;
  ProgramOperand operands[kProgramOperands];
  ByteForms forms;
  if (args.program_bytes != nullptr) forms = *args.program_bytes;
  for (int i = 0; i < epilogue.program->operand_count; ++i) {
    operands[i] = epilogue.operands[i];
    const int64_t start = tile.row * operands[i].row_stride;
    if (operands[i].data != nullptr) operands[i].data += start;
    if (forms.operands[i].data != nullptr) forms.operands[i].data += start;
  }
  const ProgramBlock block = {buffer,     is_real ? args.reals + at : buffer,
                              tile.width, is_real ? pitch : tile.width,
                              0,          tile.column,
                              tile.rows,  tile.columns};
  if (args.program_bytes != nullptr) {
    byte_program_table.run(*epilogue.program, operands, block, forms);
  } else {
    program_table.run(*epilogue.program, operands, block);
  }
  if (is_real) return;
  const ToBytes to_bytes(args.output_scale, args.output_zero_point);
  for (int r = 0; r < tile.rows; ++r) {
    for (int c = 0; c < tile.columns; c += kLanes) {
      to_bytes.store(args.bytes + at + r * pitch + c, load_up_to(buffer + r * tile.width + c, tile.columns - c),
                     tile.columns - c);
    }
  }
}

// ---- the walk ------------------------------------------------------------------------------------------------------

// Tiles: Element, kRows, kMeanwhile (whether work beside the multiplication is hidden by it), most_panels(rows), and
// multiply(a, rows, b, panel_bytes, panels, k, sums, meanwhile), which writes sums [rows][panels * 16] and calls
// meanwhile(chunk) once for every 64 of k; panels of b are panel_bytes apart.
template <class Tiles, class Pack>
void run_int8_tiles(const Int8Args& args, int64_t group, int64_t k, Range rows, Range panels, Pack pack,
                    typename Tiles::Element* scratch) {
  using Element = typename Tiles::Element;
  const int64_t filters = args.conv.filters, block = kInt8BlockBytes / static_cast<int64_t>(sizeof(Element));
  const int8_t* const weights = args.weights + group * int8_weight_bytes(k, filters);
  alignas(64) int32_t sums[kInt8TileSums];
  Int8Columns facts;
  walk_tiles(rows, panels, Tiles::kRows, block, int8_depth(k), pack, scratch, Tiles::most_panels,
             [&](int64_t panel, int step, int64_t count_of_tiles, auto& each) {
               const int8_t* const weight_panels = weights + panel * int8_panel_bytes(k);
               const int64_t first = panel * kInt8Columns, width = step * kInt8Columns;
               const int64_t column = group * filters + first;
               const int columns = static_cast<int>(filters - first < width ? filters - first : width);
               read_columns(args, weight_panels + int8_depth(k) * kInt8Columns, int8_panel_bytes(k), step, column,
                            columns, facts);
               const int64_t bytes = step * int8_panel_bytes(k), rest = panels.end - panel - step;
               each([&](int64_t index, const Element* a, int64_t row, int count) {
                 if constexpr (Tiles::kMeanwhile) {
                   const auto fetch = FetchAhead::part(weight_panels + bytes, rest > 0 ? bytes : 0, index,
                                                       count_of_tiles, int8_depth(k) / kInt8Chunk);
                   Tiles::multiply(a, count, weight_panels, int8_panel_bytes(k), step, k, sums, fetch);
                 } else {
                   Tiles::multiply(a, count, weight_panels, int8_panel_bytes(k), step, k, sums);
                 }
                 finish_int8_tile(args, facts, {sums, width, row, count, column, columns});
               });
             });
}

template <class Tiles>
void run_int8_share(const Int8Args& args, Share share, void* scratch) {
  using Element = typename Tiles::Element;
  const ConvArgs& conv = args.conv;
  const int64_t k = conv.kernel[0] * conv.kernel[1] * conv.kernel[2] * conv.channels;
  const int64_t rows = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
  const Work work = share_of_work(conv.groups, rows, int8_panel_count(conv.filters), share, conv.cut);
  const bool pointwise = is_pointwise(conv);
  auto* const lines = static_cast<Element*>(scratch);
  Element* const memory = lines + all_int8_lines(k);
  for (int64_t group = work.items.begin; group < work.items.end; ++group) {
    const uint8_t* input = args.input + group * conv.channels;
    if (pointwise) {
      run_int8_tiles<Tiles>(args, group, k, work.rows, work.panels, PackInt8Rows<Element>{input, conv.input_pitch, k},
                            memory);
    } else {
      const Int8Form<Element> form = {static_cast<uint8_t>(args.input_zero_point)};
      run_int8_tiles<Tiles>(args, group, k, work.rows, work.panels,
                            WindowPacker<Int8Form<Element>>{&conv, input, k, lines, form}, memory);
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
