// The walk of an INT8 product whose weights are sparse with masks that blocks of columns share (sparse_packing.h): for
// every block the kept bytes of a tile's rows are gathered once, and the tiles of the dense product do the rest.
// Internal to kernels/int8, for files compiled per level only.
#pragma once
#include "backends/cpu/kernels/int8/int8_driver.h"
#include "backends/cpu/kernels/int8/kept_rows.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// Beside the multiplication of a tile: what the next one needs.
template <class Tiles>
struct SparseMeanwhile {
  const KeptRows<typename Tiles::Element>* next;  // may be null
  int begin, end;                                 // of its rows, for this multiplication
  FetchAhead weights;
  HUSSAR_INLINE void operator()(int64_t chunk) const {
    weights(chunk);
    if (next == nullptr) return;
    if constexpr (Tiles::kKeepsMeanwhile) {
      next->keep(chunk, begin, end);
    } else {
      next->fetch(chunk, begin, end);
    }
  }
};

// The tiles of one block of columns.
template <class Tiles>
struct SparseBlock {
  using Element = typename Tiles::Element;
  const Int8Args& args;
  const Int8Columns& facts;
  const int8_t* panels;
  int64_t depth, first;  // the first column
  int columns;
  int64_t tiles, next_bytes;  // row tiles, and bytes of the block that lies behind this one

  // Multiplies the rows that `kept` holds, of tile `index`, and does for `next`, if any, what can be done meanwhile.
  void run(const KeptRows<Element>& kept, int64_t index, int64_t row, const KeptRows<Element>* next) const {
    alignas(64) int32_t sums[kInt8TileSums];
    const int64_t panel_bytes = int8_panel_bytes(depth), chunks = int8_depth(depth) / kInt8Chunk;
    const int count = static_cast<int>(int8_panel_count(columns));
    const int widest = Tiles::most_panels(kept.count), steps = (count + widest - 1) / widest;
    const int next_rows = next != nullptr ? next->count : 0;
    int step = widest;
    for (int panel = 0; panel < count; panel += step) {
      while (step > count - panel) step /= 2;
      const int8_t* const weights = panels + panel * panel_bytes;
      if constexpr (Tiles::kMeanwhile) {
        const SparseMeanwhile<Tiles> meanwhile = {
            next, next_rows * panel / count, next_rows * (panel + step) / count,
            FetchAhead::part(panels + count * panel_bytes, next_bytes, index * steps + panel / widest, tiles * steps,
                             chunks)};
        Tiles::multiply(kept.out, kept.count, weights, panel_bytes, step, depth, sums, meanwhile);
      } else {
        Tiles::multiply(kept.out, kept.count, weights, panel_bytes, step, depth, sums);
      }
      const int column = panel * static_cast<int>(kInt8Columns), width = step * static_cast<int>(kInt8Columns);
      const int left = columns - column;
      finish_int8_tile(args, facts,
                       {sums, width, row, kept.count, first + column, left < width ? left : width, column});
    }
  }
};

// Rows x blocks of the product. rows_at(row, count, a): where the rows of a tile lie, which the walk has packed to a.
// kept: room for two tiles.
template <class Tiles, class Pack, class RowsAt>
void run_sparse_tiles(const Int8Args& args, int64_t k, Range rows, Range blocks, Pack pack, RowsAt rows_at,
                      uint8_t* packed, typename Tiles::Element* kept) {
  using Element = typename Tiles::Element;
  const int64_t shared = args.shared_panels, filters = args.conv.filters, depth = int8_sparse_depth(k);
  const int64_t block_bytes = int8_sparse_block_bytes(k, shared);
  Int8Columns facts;
  const auto one = [](int) { return 1; };
  walk_tiles(rows, blocks, Tiles::kRows, kInt8BlockBytes, int8_depth(k), pack, packed, one,
             [&](int64_t block, int, int64_t tile_count, auto& each) {
               const int8_t* const index = args.weights + block * block_bytes;
               const int8_t* const panels = index + int8_sparse_index_bytes(k);
               const int64_t first = block * shared * kInt8Columns, left = filters - first;
               const int columns = static_cast<int>(left < shared * kInt8Columns ? left : shared * kInt8Columns);
               read_columns(args, panels + int8_depth(depth) * kInt8Columns, int8_panel_bytes(depth),
                            static_cast<int>(int8_panel_count(columns)), first, columns, facts);
               const SparseBlock<Tiles> tiles = {args,  facts,   panels,     depth,
                                                 first, columns, tile_count, block + 1 < blocks.end ? block_bytes : 0};
               // One tile behind the walk: the next one is known then.
               KeptRows<Element> here{};
               int64_t here_row = 0;
               each([&](int64_t i, const uint8_t* a, int64_t row, int count) {
                 const KeptRows<Element> next = {rows_at(row, count, a), count, reinterpret_cast<const uint8_t*>(index),
                                                 k, kept + i % 2 * Tiles::kRows * int8_depth(depth)};
                 if (i > 0) tiles.run(here, i - 1, here_row, &next);
                 if (i == 0 || !Tiles::kKeepsMeanwhile) next.keep_all();
                 here = next;
                 here_row = row;
               });
               tiles.run(here, tile_count - 1, here_row, nullptr);
             });
}

template <class Tiles>
void run_sparse_share(const Int8Args& args, Share share, void* scratch) {
  const ConvArgs& conv = args.conv;
  const int64_t k = conv.kernel[0] * conv.kernel[1] * conv.kernel[2] * conv.channels;
  const int64_t rows = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
  const Work work = share_of_work(1, rows, sparse_blocks(conv.filters, args.shared_panels), share, {});
  auto* const kept = static_cast<typename Tiles::Element*>(scratch);
  uint8_t* const lines = reinterpret_cast<uint8_t*>(kept + 2 * kInt8RowsLimit * int8_depth(int8_sparse_depth(k)));
  uint8_t* const packed = lines + all_int8_lines(k);
  const auto packed_rows = [](int64_t, int count, const uint8_t* a) {
    return ByteRows{a, count * kInt8Chunk, kInt8Chunk};
  };
  if (is_pointwise(conv) && k % kInt8Chunk == 0) {
    run_sparse_tiles<Tiles>(
        args, k, work.rows, work.panels, [](int64_t, int, uint8_t*) {},
        [&](int64_t row, int, const uint8_t*) {
          return ByteRows{args.input + row * conv.input_pitch, kInt8Chunk, conv.input_pitch};
        },
        packed, kept);
  } else if (is_pointwise(conv)) {
    run_sparse_tiles<Tiles>(args, k, work.rows, work.panels, PackInt8Rows<uint8_t>{args.input, conv.input_pitch, k},
                            packed_rows, packed, kept);
  } else {
    const Int8Form<uint8_t> form = {static_cast<uint8_t>(args.input_zero_point)};
    run_sparse_tiles<Tiles>(args, k, work.rows, work.panels,
                            WindowPacker<Int8Form<uint8_t>>{&conv, args.input, k, lines, form}, packed_rows, packed,
                            kept);
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
