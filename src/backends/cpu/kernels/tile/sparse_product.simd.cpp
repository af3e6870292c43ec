#include "backends/cpu/kernels/tile/sparse_product.h"

#include "backends/cpu/kernels/tile/tile_body.h"
#include "backends/cpu/kernels/tile/tile_core.h"
#include "backends/cpu/kernels/tile/tile_gather.h"
#include "backends/cpu/sparse_packing.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// Of 16 k, which lie together in A, eight are kept. index: their places.
struct SparseTile {
  const float* a;  // [k / 16][rows][16]
  const uint8_t* index;
  const float* b;  // the first panel
  int64_t panel_stride, depth;
};

template <int kRows, int kPanels>
void sparse_tile(const SparseTile& in, const TileOutput& out) {
  constexpr int kVecs = kPanels * kVecsPerPanel;
  TileVec sum[kRows][kVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) sum[r][v] = tile_load(out.bias + v * kTileLanes);
  }
  const float* a = in.a;
  const float* b = in.b;
  const uint8_t* index = in.index;
  const float* ahead = out.ahead;
  int64_t depth = in.depth;
  for (; depth >= 8; depth -= 8, index += 8, a += kRows * kTileChunk) {
    for (int i = 0; i < out.ahead_lines; ++i, ahead += 16) __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 2
    for (int i = 0; i < 8; ++i, b += kPanelColumns) multiply_add<Floats>(a + (index[i] & 15), b, in.panel_stride, sum);
  }
  for (; depth > 0; --depth, ++index, b += kPanelColumns)
    multiply_add<Floats>(a + (*index & 15), b, in.panel_stride, sum);
  store_tile(sum, out);
}

struct SparseTiles {
  using Kernel = void (*)(const SparseTile& in, const TileOutput& out);
  template <int kRows, int kPanels>
  static constexpr Kernel kernel = sparse_tile<kRows, kPanels>;
};
constexpr auto kKernels = make_tile_table<SparseTiles>();

template <class Pack>
void run_blocks(const Product& product, Range rows, Range panels, int64_t shared, const WorkCut& cut, Pack pack,
                float* scratch) {
  const int64_t tile_rows = cut.most_rows < kTileRows ? cut.most_rows : kTileRows;
  const int64_t row_floats = (product.k + kTileChunk - 1) / kTileChunk * kTileChunk;
  const int64_t depth = float_sparse_depth(product.k);
  // Powers of two both, so that no tile lies in two blocks.
  const auto widest = [&](int tile) { return max_panels(tile) < shared ? max_panels(tile) : static_cast<int>(shared); };
  walk_tiles(rows, panels, tile_rows, kBlockFloats / cut.block_divisor, row_floats, pack, scratch, widest,
             [&](int64_t panel, int step, int64_t count, auto& each) {
               const float* const block = product.b + panel / shared * float_sparse_block_floats(product.k, shared);
               const float* const first = block + float_sparse_index_bytes(product.k) / 4;
               SparseTile tile = {nullptr, reinterpret_cast<const uint8_t*>(block),
                                  first + panel % shared * depth * kPanelColumns, depth * kPanelColumns, depth};
               // What lies behind these panels comes next: the tiles bring it to the cache, in equal parts.
               const bool is_last = panel + step >= panels.end;
               const int part = static_cast<int>((step * 8 + count - 1) / count);
               each([&](int64_t index, const float* a, int64_t row, int rows_here) {
                 const int64_t done = index * part;
                 const Ahead ahead = {tile.b + (step * depth + done * (depth / 8)) * kPanelColumns,
                                      is_last || done >= step * 8 ? 0 : part};
                 emit_tile(product, row, rows_here, panel, step, ahead, [&](const TileOutput& out) {
                   tile.a = a;
                   kKernels(rows_here, step)(tile, out);
                 });
               });
             });
}

void run_sparse_conv(const SparseArgs& args, Share share, void* scratch) {
  const ConvArgs& conv = args.conv;
  const int64_t k = conv.kernel[0] * conv.kernel[1] * conv.kernel[2] * conv.channels;
  const int64_t rows = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
  const int64_t shared = args.shared_panels, all_panels = panel_count(conv.filters);
  const Work work = share_of_work(1, rows, sparse_blocks(conv.filters, shared), share, conv.cut);
  const int64_t end = work.panels.end * shared;
  const Range panels = {work.panels.begin * shared, end < all_panels ? end : all_panels};
  float* const lines = static_cast<float*>(scratch);
  float* const memory = lines + all_lines_floats(k);
  const Product product = {k, conv.filters, conv.filter, conv.output, conv.output_pitch, 0, 0, 1, &conv.epilogue};
  if (is_pointwise(conv)) {
    run_blocks(product, work.rows, panels, shared, conv.cut, PackRows{conv.input, conv.input_pitch, k}, memory);
  } else {
    run_blocks(product, work.rows, panels, shared, conv.cut, PackWindows{&conv, conv.input, k, lines}, memory);
  }
}

}  // namespace

extern const SparseTable sparse_table = {run_sparse_conv};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
