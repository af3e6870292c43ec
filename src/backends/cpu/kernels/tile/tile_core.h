// What GEMM and the convolutions share: the partition into shares and the walk over blocks, panels and tiles, for every
// type of element. Internal to kernels/tile and kernels/half, for files compiled per level only.
#pragma once
#include "backends/cpu/kernels/pointwise/program.h"
#include "backends/cpu/kernels/tile/tile.h"
#include "backends/cpu/kernels/tile/tile_kernels.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

struct Range {
  int64_t begin;
  int64_t end;
};

// Part `index` of [0, size) cut into `parts` nearly equal ones.
HUSSAR_INLINE Range part_of(int64_t size, int64_t parts, int64_t index) {
  return {size * index / parts, size * (index + 1) / parts};
}

// One share's rectangle: items (batch or groups) x rows x panels. Empty ranges mean nothing to do.
struct Work {
  Range items;
  Range rows;
  Range panels;
};

// This share of items x rows x panels.
inline Work share_of_work(int64_t items, int64_t rows, int64_t panels, Share share, const WorkCut& cut) {
  const CutParts parts = cut_parts(items, rows, panels, share.count, cut.along);
  const int64_t index = share.index;
  if (index >= parts.count()) return {};
  return {part_of(items, parts.items, index / (parts.rows * parts.panels)),
          part_of(rows, parts.rows, index / parts.panels % parts.rows),
          part_of(panels, parts.panels, index % parts.panels)};
}

// One matrix product out of a batch or of the groups of a convolution. c is its row 0, column 0; for the epilogue, row
// r of C is row + r * row_step of the output, column c is column + c.
template <class Element>
struct ProductOf {
  int64_t k;
  int64_t n;
  const Element* b;
  float* c;
  int64_t c_pitch;
  int64_t row;
  int64_t column;
  int64_t row_step;
  const Epilogue* epilogue;
  // If not 0: behind every line_rows rows of C lie line_gap more floats.
  int64_t line_rows = 0;
  int64_t line_gap = 0;

  int64_t offset(int64_t r) const { return r * c_pitch + (line_rows > 0 ? r / line_rows * line_gap : 0); }
};
using Product = ProductOf<float>;

// The register tiles of FP32, in the form that run_tiles takes: the element of A and B, the columns of a panel and its
// elements per k, the elements of A that lie together, the rows of a tile, the floats of the largest tile, the elements
// of a block of A, and the kernels.
struct FloatTiles {
  using Element = float;
  static constexpr int64_t kColumns = kPanelColumns;
  static constexpr int64_t kChunk = kTileChunk;
  static constexpr int kRows = kTileRows;
  static constexpr int kMostFloats = kTileFloats;
  static constexpr int64_t kBlock = kBlockFloats;
  static constexpr int most_panels(int rows) { return max_panels(rows); }
  static int64_t panel_elements(int64_t k) { return k * kPanelColumns; }
  static TileKernel kernel(int rows, int panels, int columns) { return tile_kernel(rows, panels, columns); }
  // The kernels prefetch what TileOutput names.
  static constexpr bool kPrefetch = true;
};

// The epilogue's program on a tile whose first row is `row` of the product.
template <class Element>
void run_program(const ProductOf<Element>& product, int64_t row, const ProgramBlock& block) {
  const Program& program = *product.epilogue->program;
  ProgramOperand operands[kProgramOperands];
  for (int i = 0; i < program.operand_count; ++i) {
    const ProgramOperand& operand = product.epilogue->operands[i];
    operands[i] = {operand.data + (product.row + row * product.row_step) * operand.row_stride,
                   operand.row_stride * product.row_step, operand.column_stride};
  }
  program_table.run(program, operands, block);
}

// What a tile prefetches per chunk of k, from `data` on.
struct Ahead {
  const float* data = nullptr;
  int lines = 0;
};

// Computes and finishes the tile at `row` (rows of it) and `panel` (panels of them): compute(out) writes it, with the
// part of the epilogue that TileOutput tells.
template <class Tiles = FloatTiles, class Compute>
HUSSAR_INLINE void emit_tile(const ProductOf<typename Tiles::Element>& product, int64_t row, int rows, int64_t panel,
                             int panels, Ahead ahead, Compute&& compute) {
  constexpr int kMostColumns = 8 * Tiles::kColumns;
  alignas(64) static constexpr float kZeros[kMostColumns] = {};
  const Epilogue& epilogue = *product.epilogue;
  const int64_t first = panel * Tiles::kColumns;
  const int width = panels * static_cast<int>(Tiles::kColumns);
  const int columns = static_cast<int>(product.n - first < width ? product.n - first : width);
  TileOutput out;
  out.c = product.c + product.offset(row) + first;
  out.c_pitch = product.c_pitch;
  out.low = epilogue.low;
  out.high = epilogue.high;
  out.hard_swish = epilogue.hard_swish;
  out.scale = epilogue.scale;
  out.shift = epilogue.shift;
  out.columns = columns;
  out.ahead = ahead.data;
  out.ahead_lines = ahead.lines;
  out.residual = nullptr;
  out.residual_pitch = epilogue.residual_pitch * product.row_step;
  if (epilogue.residual != nullptr) {
    out.residual =
        epilogue.residual + (product.row + row * product.row_step) * epilogue.residual_pitch + product.column + first;
  }
  out.bias = kZeros;
  alignas(64) float padded_bias[kMostColumns];
  if (epilogue.bias != nullptr) {
    out.bias = epilogue.bias + product.column + first;
    if (columns < width) {
      for (int i = 0; i < width; ++i) padded_bias[i] = i < columns ? out.bias[i] : 0.0f;
      out.bias = padded_bias;
    }
  }
  const bool broken = product.line_rows > 0 && row % product.line_rows + rows > product.line_rows;
  if (epilogue.program == nullptr && !broken) return compute(out);
  alignas(64) float buffer[Tiles::kMostFloats];
  float* const c = out.c;
  out.c = buffer;
  out.c_pitch = width;
  compute(out);
  const int64_t column = product.column + first;
  if (!broken) {
    return run_program(product, row, {buffer, c, width, product.c_pitch, 0, column, rows, columns});
  }
  if (epilogue.program != nullptr) {
    run_program(product, row, {buffer, buffer, width, width, 0, column, rows, columns});
  }
  for (int r = 0; r < rows; ++r) {
    float* const target = product.c + product.offset(row + r) + first;
    for (int i = 0; i < columns; i += kLanes) {
      store_up_to(target + i, load_up_to(buffer + r * width + i, columns - i), columns - i);
    }
  }
}

// The tile whose packed rows are a.
template <class Tiles>
void run_tile(const ProductOf<typename Tiles::Element>& product, const typename Tiles::Element* a, int64_t row,
              int rows, int64_t panel, int panels, Ahead ahead) {
  emit_tile<Tiles>(product, row, rows, panel, panels, ahead, [&](const TileOutput& out) {
    const int64_t panel_stride = Tiles::panel_elements(product.k);
    Tiles::kernel(rows, panels, out.columns)(a, product.b + panel * panel_stride, panel_stride, product.k, out);
  });
}

// The order of the work on rows x panels: A is packed in blocks that stay in the L2 cache, and every group of panels
// passes by all tiles of a block. pack(row, rows, dst) writes rows of A in row_elements each; most_panels(rows) is how
// many panels a tile of so many rows takes; visit(panel, panels, count, each) computes a group, where each(f) calls
// f(index, a, row, rows) for the `count` tiles of the block.
template <class Element, class Pack, class MostPanels, class Visit>
HUSSAR_INLINE void walk_tiles(Range rows, Range panels, int64_t tile_rows, int64_t block_elements, int64_t row_elements,
                              Pack pack, Element* scratch, MostPanels most_panels, Visit visit) {
  const int64_t total = rows.end - rows.begin;
  if (total <= 0 || panels.begin >= panels.end) return;
  const int64_t tiles = (total + tile_rows - 1) / tile_rows;
  const int64_t most_rows = (total + tiles - 1) / tiles;
  const int64_t fit = block_elements / (most_rows * (row_elements > 0 ? row_elements : 1));
  const int64_t blocks = fit < 1 ? tiles : (tiles + fit - 1) / fit;
  const int widest = most_panels(static_cast<int>(most_rows));
  for (int64_t block = 0; block < blocks; ++block) {
    const Range block_tiles = part_of(tiles, blocks, block);
    auto each = [&](auto f) {
      Element* a = scratch;
      for (int64_t tile = block_tiles.begin; tile < block_tiles.end; ++tile) {
        const Range r = part_of(total, tiles, tile);
        f(tile - block_tiles.begin, a, rows.begin + r.begin, static_cast<int>(r.end - r.begin));
        a += (r.end - r.begin) * row_elements;
      }
    };
    each([&](int64_t, Element* a, int64_t row, int count) { pack(row, count, a); });
    for (int64_t panel = panels.begin; panel < panels.end;) {
      int step = widest;
      while (step > panels.end - panel) step /= 2;
      visit(panel, step, block_tiles.end - block_tiles.begin, each);
      panel += step;
    }
  }
}

// Computes rows x panels of one product. pack(row, rows, dst) writes rows of A as [ceil(k / chunk)][rows][chunk].
template <class Tiles, class Pack>
void run_tiles(const ProductOf<typename Tiles::Element>& product, Range rows, Range panels, const WorkCut& cut,
               Pack pack, typename Tiles::Element* scratch) {
  using Element = typename Tiles::Element;
  constexpr int64_t kChunk = Tiles::kChunk;
  const int64_t tile_rows = cut.most_rows < Tiles::kRows ? cut.most_rows : Tiles::kRows;
  const int64_t row_elements = (product.k + kChunk - 1) / kChunk * kChunk;
  walk_tiles(rows, panels, tile_rows, Tiles::kBlock / cut.block_divisor, row_elements, pack, scratch,
             Tiles::most_panels, [&](int64_t panel, int step, int64_t count, auto& each) {
               // The tiles bring the next panels to the cache, in equal parts of whole lines: the first ones, if they
               // are many.
               const int64_t chunks = product.k / kChunk, left = panels.end - panel - step;
               const int64_t lines = (left < step ? left : step) * kTileChunk;  // per chunk
               const int part = static_cast<int>((lines + count - 1) / count);
               each([&](int64_t index, const Element* a, int64_t row, int row_count) {
                 Ahead ahead;
                 if constexpr (Tiles::kPrefetch) {
                   const int64_t done = index * part;
                   const Element* const next = product.b + (panel + step) * Tiles::panel_elements(product.k);
                   ahead = {reinterpret_cast<const float*>(next) + done * chunks * 16, done < lines ? part : 0};
                 }
                 run_tile<Tiles>(product, a, row, row_count, panel, step, ahead);
               });
             });
}

template <class Pack>
void run_product(const Product& product, Range rows, Range panels, const WorkCut& cut, Pack pack, float* scratch) {
  run_tiles<FloatTiles>(product, rows, panels, cut, pack, scratch);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
