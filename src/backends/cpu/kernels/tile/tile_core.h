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

// Cuts items x rows x panels into at most share.count equal rectangles, so that the largest costs least. The cost of
// a rectangle in units of one row times one panel: its rows pack A (worth about 1.5 panels) and its panels of B are
// streamed from outer memory (worth about 4 rows).
inline Work share_of_work(int64_t items, int64_t rows, int64_t panels, Share share) {
  int64_t best_items = 1, best_rows = 1, best_panels = 1;
  double best = INFINITY;
  for (int64_t i = 1; i <= share.count && i <= items; ++i) {
    for (int64_t r = 1; i * r <= share.count && r <= rows; ++r) {
      const int64_t room = share.count / (i * r);
      const int64_t p = room < panels ? room : panels;
      const double most_rows = static_cast<double>((rows + r - 1) / r);
      const double most_panels = static_cast<double>((panels + p - 1) / p);
      const double cost =
          static_cast<double>((items + i - 1) / i) * (most_rows * (most_panels + 1.5) + 4 * most_panels);
      if (cost < best) {
        best = cost;
        best_items = i;
        best_rows = r;
        best_panels = p;
      }
    }
  }
  const int64_t index = share.index;
  if (index >= best_items * best_rows * best_panels) return {};
  return {part_of(items, best_items, index / (best_rows * best_panels)),
          part_of(rows, best_rows, index / best_panels % best_rows), part_of(panels, best_panels, index % best_panels)};
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
  static TileKernel kernel(int rows, int panels) { return tile_kernel(rows, panels); }
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

// Runs the tile at `row` (rows of it) and `panel` (panels of them); a is its packed rows.
template <class Tiles>
void run_tile(const ProductOf<typename Tiles::Element>& product, const typename Tiles::Element* a, int64_t row,
              int rows, int64_t panel, int panels) {
  constexpr int kMostColumns = 8 * Tiles::kColumns;
  alignas(64) static constexpr float kZeros[kMostColumns] = {};
  const Epilogue& epilogue = *product.epilogue;
  const int64_t first = panel * Tiles::kColumns;
  const int width = panels * static_cast<int>(Tiles::kColumns);
  const int columns = static_cast<int>(product.n - first < width ? product.n - first : width);
  TileOutput out;
  out.c = product.c + row * product.c_pitch + first;
  out.c_pitch = product.c_pitch;
  out.low = epilogue.low;
  out.high = epilogue.high;
  out.columns = columns;
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
  const auto kernel = Tiles::kernel(rows, panels);
  const int64_t panel_stride = Tiles::panel_elements(product.k);
  const auto* const b = product.b + panel * panel_stride;
  if (epilogue.program == nullptr) return kernel(a, b, panel_stride, product.k, out);
  alignas(64) float buffer[Tiles::kMostFloats];
  float* const c = out.c;
  out.c = buffer;
  out.c_pitch = width;
  kernel(a, b, panel_stride, product.k, out);
  run_program(product, row, {buffer, c, width, product.c_pitch, 0, product.column + first, rows, columns});
}

// Computes rows x panels of one product. pack(row, rows, dst) writes rows of A as [ceil(k / chunk)][rows][chunk].
template <class Tiles, class Pack>
void run_tiles(const ProductOf<typename Tiles::Element>& product, Range rows, Range panels, Pack pack,
               typename Tiles::Element* scratch) {
  constexpr int64_t kRows = Tiles::kRows, kChunk = Tiles::kChunk;
  const int64_t total = rows.end - rows.begin;
  if (total <= 0 || panels.begin >= panels.end) return;
  const int64_t row_elements = (product.k + kChunk - 1) / kChunk * kChunk;
  const int64_t tiles = (total + kRows - 1) / kRows;
  const int64_t most_rows = (total + tiles - 1) / tiles;
  const int64_t fit = Tiles::kBlock / (most_rows * (row_elements > 0 ? row_elements : 1));
  const int64_t blocks = fit < 1 ? tiles : (tiles + fit - 1) / fit;
  const int widest = Tiles::most_panels(static_cast<int>(most_rows));
  for (int64_t block = 0; block < blocks; ++block) {
    const Range block_tiles = part_of(tiles, blocks, block);
    auto* a = scratch;
    for (int64_t tile = block_tiles.begin; tile < block_tiles.end; ++tile) {
      const Range r = part_of(total, tiles, tile);
      pack(rows.begin + r.begin, static_cast<int>(r.end - r.begin), a);
      a += (r.end - r.begin) * row_elements;
    }
    for (int64_t panel = panels.begin; panel < panels.end;) {
      int step = widest;
      while (step > panels.end - panel) step /= 2;
      a = scratch;
      for (int64_t tile = block_tiles.begin; tile < block_tiles.end; ++tile) {
        const Range r = part_of(total, tiles, tile);
        run_tile<Tiles>(product, a, rows.begin + r.begin, static_cast<int>(r.end - r.begin), panel, step);
        a += (r.end - r.begin) * row_elements;
      }
      panel += step;
    }
  }
}

template <class Pack>
void run_product(const Product& product, Range rows, Range panels, Pack pack, float* scratch) {
  run_tiles<FloatTiles>(product, rows, panels, pack, scratch);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
