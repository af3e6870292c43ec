#include "backends/cpu/kernels/half/half_product.h"
#include "backends/cpu/kernels/half/half_tiles.h"
#include "backends/cpu/kernels/half/half_vec.h"
#include "backends/cpu/kernels/half/narrow_rows.h"
#include "backends/cpu/kernels/int8/kept_rows.h"
#include "backends/cpu/kernels/int8/meanwhile.h"
#include "backends/cpu/kernels/tile/tile_core.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// `kept`: room for one tile.
template <class Pack>
void run_blocks(const ProductOf<uint16_t>& product, Range rows, Range blocks, int64_t shared, const WorkCut& cut,
                Pack pack, uint16_t* scratch, uint16_t* kept) {
  const int64_t tile_rows = cut.most_rows < HalfTiles::kRows ? cut.most_rows : HalfTiles::kRows;
  const int64_t k = product.k, depth = half_sparse_depth(k),
                row_elements = (k + kHalfChunk - 1) / kHalfChunk * kHalfChunk;
  const int64_t panels = shared / 2, all_panels = half_panel_count(product.n);
  const auto one = [](int) { return 1; };
  walk_tiles(rows, blocks, tile_rows, HalfTiles::kBlock / cut.block_divisor, row_elements, pack, scratch, one,
             [&](int64_t block, int, int64_t count, auto& each) {
               const uint16_t* const index = product.b + block * half_sparse_block_elements(k, shared);
               // A product of the kept k, whose panels begin where those of this block would be its own.
               ProductOf<uint16_t> of_kept = product;
               of_kept.k = depth;
               of_kept.b = product.b + (block + 1) * half_sparse_index_elements(k);
               const int64_t first = block * panels, end = first + panels < all_panels ? first + panels : all_panels;
               const auto* const next = reinterpret_cast<const int8_t*>(index + half_sparse_block_elements(k, shared));
               const int64_t next_bytes = block + 1 < blocks.end ? 2 * half_sparse_block_elements(k, shared) : 0;
               const int64_t chunks = (depth + kHalfChunk - 1) / kHalfChunk;
               each([&](int64_t tile, const uint16_t* a, int64_t row, int count_here) {
                 const ByteRows bytes = {reinterpret_cast<const uint8_t*>(a), count_here * kInt8Chunk, kInt8Chunk};
                 KeptRows<uint8_t>{bytes, count_here, reinterpret_cast<const uint8_t*>(index), 2 * k,
                                   reinterpret_cast<uint8_t*>(kept)}
                     .keep_all();
                 int step = HalfTiles::most_panels(count_here);
                 for (int64_t panel = first; panel < end; panel += step) {
                   while (step > end - panel) step /= 2;
                   const auto fetch =
                       FetchAhead::part(next, next_bytes, tile * panels + panel - first, count * panels, chunks);
                   const Ahead ahead = {reinterpret_cast<const float*>(fetch.from), fetch.lines * step};
                   run_tile<HalfTiles>(of_kept, kept, row, count_here, panel, step, ahead);
                 }
               });
             });
}

}  // namespace

void run_half_sparse(const HalfArgs& args, Share share, void* scratch) {
  const ConvArgs& conv = args.conv;
  const int64_t k = conv.kernel[0] * conv.kernel[1] * conv.kernel[2] * conv.channels;
  const int64_t rows = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
  const Work work = share_of_work(1, rows, sparse_blocks(conv.filters, args.shared_panels), share, conv.cut);
  auto* const kept = static_cast<uint16_t*>(scratch);
  uint16_t* const lines = kept + half_kept_elements(k);
  uint16_t* const memory = lines + all_half_lines(k);
  const ProductOf<uint16_t> product = {k, conv.filters,  args.weights, conv.output, conv.output_pitch, 0, 0,
                                       1, &conv.epilogue};
  const auto run = [&](auto pack) {
    run_blocks(product, work.rows, work.panels, args.shared_panels, conv.cut, pack, memory, kept);
  };
  if (is_pointwise(conv)) {
    run(PackNarrowRows<Halves>{conv.input, conv.input_pitch, k});
  } else {
    run(WindowPacker<NarrowForm<Halves>>{&conv, conv.input, k, lines});
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
