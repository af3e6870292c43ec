// INT8 products on the matrix unit: tiles of 16 rows and 16 columns, 64 of k at once. A tile's rows may lie apart, so
// where windows or pixels are wide enough, A is not gathered: windows are read from lines with their padding, as rows
// that overlap, and rows of one pixel from the input itself.
#include "backends/cpu/kernels/int8/int8_tiles_amx.h"
#include "backends/cpu/kernels/int8/sparse_driver.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// The columns of some panels of one group, for the end of a tile.
struct PanelPair {
  const int8_t* weights;
  int panels, columns;
  int64_t column;
};

// visit(pair, facts) for every pair of the panels.
template <class Visit>
void for_panel_pairs(const Int8Args& args, int64_t group, int64_t k, Range panels, Visit visit) {
  const int64_t filters = args.conv.filters;
  Int8Columns facts;
  for (int64_t panel = panels.begin; panel < panels.end; panel += 2) {
    const int count = panels.end - panel > 1 ? 2 : 1;
    const int64_t first = panel * kInt8Columns, left = filters - first;
    const PanelPair pair = {args.weights + group * int8_weight_bytes(k, filters) + panel * int8_panel_bytes(k), count,
                            static_cast<int>(left < count * kInt8Columns ? left : count * kInt8Columns),
                            group * filters + first};
    read_columns(args, pair.weights + int8_depth(k) * kInt8Columns, int8_panel_bytes(k), count, pair.column,
                 pair.columns, facts);
    visit(pair, facts);
  }
}

// ---- windows -------------------------------------------------------------------------------------------------------

// A window is kernel[1] segments, each kernel[2] neighbouring pixels of a line. Most chunks of k lie in one segment.
constexpr int64_t kShortestSegment = 32;
constexpr int kMostChunks = 256;
constexpr int64_t kShortestLine = 24;
// So many chunks at most lie in several segments; there is room for them behind the plane.
constexpr int64_t kMostSegments = 32;

// Lines of the input with their padding, one behind the other. With stride 1, the windows of all lines are one run of
// positions, a pixel apart: those of the last kernel[2] - 1 of every line belong to no output pixel. Otherwise every
// output line is a run of its own.
struct Plane {
  int64_t width;  // pixels of a line
  int64_t lines;  // output lines at a time; none: the convolution has no such form
  int64_t line_bytes, segment_bytes;
  int64_t row_bytes;  // from a window to the next
  int64_t run_lines;  // output lines of a run
};

Plane plane_of(const ConvArgs& conv, int64_t k) {
  const bool plain = conv.kernel[0] == 1 && conv.in[0] == 1 && conv.out[0] == 1 && conv.dilation[1] == 1 &&
                     conv.dilation[2] == 1 && conv.kernel[2] * conv.channels >= kShortestSegment &&
                     int8_depth(k) / kInt8Chunk <= kMostChunks && conv.kernel[1] <= kMostSegments;
  const bool overlaps = conv.kernel[1] * conv.kernel[2] > conv.stride[1] * conv.stride[2];
  if (!plain || !overlaps) return {};
  const bool is_dense = conv.stride[1] == 1 && conv.stride[2] == 1;
  // The tiles of a run that is a line have few rows where the line has few pixels.
  if (!is_dense && conv.out[2] < kShortestLine) return {};
  const int64_t width = (conv.out[2] - 1) * conv.stride[2] + conv.kernel[2];
  // The last tile and the last chunk read further than there are windows.
  const int64_t pixels =
      (kInt8BlockBytes - kInt8Chunk) / conv.channels - kMatrixTileRows * conv.stride[2] - conv.kernel[2];
  const int64_t lines =
      pixels / width - conv.kernel[1] < 0 ? 0 : (pixels / width - conv.kernel[1]) / conv.stride[1] + 1;
  return {width,
          lines,
          width * conv.channels,
          conv.kernel[2] * conv.channels,
          conv.stride[2] * conv.channels,
          is_dense ? lines : 1};
}

// Where the chunks of k lie, from the top left corner of a window.
struct ChunkMap {
  int64_t offsets[kMostChunks];  // or -1: in several segments
  int chunks = 0, copies = 0;
};

ChunkMap map_chunks(const Plane& plane, int64_t k) {
  ChunkMap map;
  map.chunks = static_cast<int>(int8_depth(k) / kInt8Chunk);
  for (int i = 0; i < map.chunks; ++i) {
    const int64_t begin = i * kInt8Chunk, end = begin + kInt8Chunk < k ? begin + kInt8Chunk : k;
    const int64_t segment = begin / plane.segment_bytes;
    const bool is_whole = end <= (segment + 1) * plane.segment_bytes;
    map.offsets[i] = is_whole ? segment * plane.line_bytes + begin % plane.segment_bytes : -1;
    map.copies += is_whole ? 0 : 1;
  }
  return map;
}

// A row of a chunk that lies in several segments.
HUSSAR_INLINE void copy_pieces(const Plane& plane, const uint8_t* window, int64_t begin, int64_t end, uint8_t* out) {
  __m512i bytes = _mm512_setzero_si512();
  for (int64_t at = begin; at < end;) {
    const int64_t segment = at / plane.segment_bytes, stop = (segment + 1) * plane.segment_bytes;
    const int64_t first = at - begin, last = (stop < end ? stop : end) - begin;
    const __mmask64 mask = (~uint64_t{0} >> (64 - (last - first))) << first;
    const uint8_t* const from = window + segment * plane.line_bytes + at % plane.segment_bytes - first;
    bytes = _mm512_mask_loadu_epi8(bytes, mask, from);
    at = begin + last;
  }
  _mm512_storeu_si512(out, bytes);
}

struct WindowChunks {
  const ChunkMap* map;
  const uint8_t* window;
  int64_t row_bytes;
  const uint8_t* copies;  // [copied chunk][kMatrixTileRows][64]
  mutable int64_t copied = 0;
  Chunk operator()(int64_t i) const {
    if (map->offsets[i] >= 0) return {window + map->offsets[i], row_bytes};
    return {copies + copied++ * kMatrixTileRows * kInt8Chunk, kInt8Chunk};
  }
};

void copy_lines(const Int8Args& args, const uint8_t* image, int64_t y, int64_t lines, int64_t width, uint8_t* plane) {
  const ConvArgs& conv = args.conv;
  const int64_t channels = conv.channels;
  for (int64_t line = 0; line < lines; ++line) {
    const int64_t in_y = y + line - conv.pad[1];
    for (int64_t x = 0; x < width; ++x, plane += channels) {
      const int64_t in_x = x - conv.pad[2];
      if (in_y >= 0 && in_y < conv.in[1] && in_x >= 0 && in_x < conv.in[2]) {
        memcpy(plane, image + (in_y * conv.in[2] + in_x) * conv.input_pitch, static_cast<size_t>(channels));
      } else {
        memset(plane, args.input_zero_point, static_cast<size_t>(channels));
      }
    }
  }
}

// Ends the tile of `count` windows from position p of a run on; output row `origin` belongs to position 0.
void finish_windows(const Int8Args& args, const Int8Columns& facts, const PanelPair& pair, const int32_t* sums,
                    int64_t p, int64_t count, int64_t width, int64_t origin) {
  const int64_t pixels = args.conv.out[2], pitch = pair.panels * kInt8Columns;
  for (int64_t at = p; at < p + count;) {
    const int64_t line = at / width, x = at - line * width;
    const int64_t end = line * width + pixels < p + count ? line * width + pixels : p + count;
    if (at < end) {
      finish_int8_tile(args, facts,
                       {sums + (at - p) * pitch, pitch, origin + line * pixels + x, static_cast<int>(end - at),
                        pair.column, pair.columns});
    }
    at = (line + 1) * width;
  }
}

// Positions of a run, whose first window is at `data` and belongs to output row `origin`.
struct WindowRun {
  const uint8_t* data;
  int64_t begin, end, origin;
};

void multiply_run(const Int8Args& args, int64_t k, const Plane& plane, const ChunkMap& map, const WindowRun& run,
                  const PanelPair& pair, const Int8Columns& facts, uint8_t* copies) {
  alignas(64) int32_t sums[kMatrixTileRows * 2 * kInt8Columns];
  for (int64_t p = run.begin; p < run.end; p += kMatrixTileRows) {
    const int64_t count = run.end - p < kMatrixTileRows ? run.end - p : kMatrixTileRows;
    const uint8_t* const window = run.data + p * plane.row_bytes;
    uint8_t* out = copies;
    for (int i = 0; i < map.chunks && map.copies > 0; ++i) {
      if (map.offsets[i] >= 0) continue;
      const int64_t begin = i * kInt8Chunk, end = begin + kInt8Chunk < k ? begin + kInt8Chunk : k;
      for (int64_t r = 0; r < count; ++r) {
        copy_pieces(plane, window + r * plane.row_bytes, begin, end, out + r * kInt8Chunk);
      }
      out += kMatrixTileRows * kInt8Chunk;
    }
    multiply_rows(WindowChunks{&map, window, plane.row_bytes, copies}, count, k, pair.weights, int8_panel_bytes(k),
                  pair.panels, sums);
    finish_windows(args, facts, pair, sums, p, count, plane.width, run.origin);
  }
}

void run_windows(const Int8Args& args, int64_t group, int64_t k, const Work& work, const Plane& plane,
                 uint8_t* scratch) {
  const ConvArgs& conv = args.conv;
  const int64_t pixels = conv.out[2], image_rows = conv.out[1] * pixels;
  const ChunkMap map = map_chunks(plane, k);
  uint8_t* const copies = scratch + kInt8BlockBytes;
  for (int64_t row = work.rows.begin; row < work.rows.end;) {
    const int64_t image = row / image_rows, y = row % image_rows / pixels;
    const int64_t origin = image * image_rows + y * pixels;
    const int64_t lines = conv.out[1] - y < plane.lines ? conv.out[1] - y : plane.lines;
    const int64_t end = origin + lines * pixels < work.rows.end ? origin + lines * pixels : work.rows.end;
    const int64_t used = (end - 1 - origin) / pixels + 1;
    copy_lines(args, args.input + image * conv.in[1] * conv.in[2] * conv.input_pitch + group * conv.channels,
               y * conv.stride[1], (used - 1) * conv.stride[1] + conv.kernel[1], plane.width, scratch);
    for_panel_pairs(args, group, k, work.panels, [&](const PanelPair& pair, const Int8Columns& facts) {
      for (int64_t line = 0; line < used; line += plane.run_lines) {
        const int64_t first = origin + line * pixels;
        const int64_t begin = row > first ? row - first : 0;
        const int64_t last =
            (end < first + plane.run_lines * pixels ? end : first + plane.run_lines * pixels) - 1 - first;
        const WindowRun run = {scratch + line * conv.stride[1] * plane.line_bytes, begin,
                               last / pixels * plane.width + last % pixels + 1, first};
        multiply_run(args, k, plane, map, run, pair, facts, copies);
      }
    });
    row = end;
  }
}

// ---- one pixel per row ---------------------------------------------------------------------------------------------

// Whole tiles, cut between shares: a tile of few rows costs as much as a full one.
Work share_of_tiles(const ConvArgs& conv, int64_t rows, Share share) {
  const int64_t panels = int8_panel_count(conv.filters);
  const Work tiles =
      share_of_work(conv.groups, (rows + kMatrixTileRows - 1) / kMatrixTileRows, (panels + 1) / 2, share, conv.cut);
  const auto scale = [](Range range, int64_t size, int64_t most) -> Range {
    return {range.begin * size, range.end * size < most ? range.end * size : most};
  };
  return {tiles.items, scale(tiles.rows, kMatrixTileRows, rows), scale(tiles.panels, 2, panels)};
}

void run_pixels(const Int8Args& args, int64_t group, int64_t k, const Work& work, uint8_t* scratch) {
  const ConvArgs& conv = args.conv;
  const uint8_t* const input = args.input + group * conv.channels;
  const int64_t all_rows = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
  const int64_t fit = kInt8BlockBytes / k / kMatrixTileRows * kMatrixTileRows,
                block = fit > kMatrixTileRows ? fit : kMatrixTileRows;
  const PackInt8Rows<uint8_t> pack{input, conv.input_pitch, k};
  alignas(64) int32_t sums[kMatrixTileRows * 2 * kInt8Columns];
  for (int64_t begin = work.rows.begin; begin < work.rows.end; begin += block) {
    const int64_t end = begin + block < work.rows.end ? begin + block : work.rows.end;
    // A tile of fewer rows is read whole, which may be too far.
    const int64_t last = begin + (end - begin - 1) / kMatrixTileRows * kMatrixTileRows;
    const bool copies_last = last + kMatrixTileRows > all_rows;
    const auto rest = static_cast<int>(end - last);
    if (copies_last) pack(last, rest, scratch);
    for_panel_pairs(args, group, k, work.panels, [&](const PanelPair& pair, const Int8Columns& facts) {
      for (int64_t row = begin; row < end; row += kMatrixTileRows) {
        const int count = row == last ? rest : kMatrixTileRows;
        if (row == last && copies_last) {
          multiply_rows(GatheredChunks{scratch, rest}, count, k, pair.weights, int8_panel_bytes(k), pair.panels, sums);
        } else {
          const Chunk whole = {input + row * conv.input_pitch, conv.input_pitch};
          multiply_rows(
              [=](int64_t i) {
                return Chunk{whole.data + i * kInt8Chunk, whole.row_bytes};
              },
              count, k, pair.weights, int8_panel_bytes(k), pair.panels, sums);
        }
        finish_int8_tile(args, facts, {sums, pair.panels * kInt8Columns, row, count, pair.column, pair.columns});
      }
    });
  }
}

}  // namespace

void run_int8_product(const Int8Args& args, Share share, void* scratch) {
  const ConvArgs& conv = args.conv;
  const int64_t k = conv.kernel[0] * conv.kernel[1] * conv.kernel[2] * conv.channels;
  const bool pixels = is_pointwise(conv) && k % kInt8Chunk == 0;
  const Plane plane = plane_of(conv, k);
  configure_tiles();
  if (!pixels && (plane.lines < 1 || is_pointwise(conv))) {
    run_int8_share<MatrixTiles>(args, share, scratch);
  } else {
    const int64_t rows = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
    const Work work = pixels ? share_of_tiles(conv, rows, share)
                             : share_of_work(conv.groups, rows, int8_panel_count(conv.filters), share, conv.cut);
    for (int64_t group = work.items.begin; group < work.items.end; ++group) {
      if (pixels) {
        run_pixels(args, group, k, work, static_cast<uint8_t*>(scratch));
      } else {
        run_windows(args, group, k, work, plane, static_cast<uint8_t*>(scratch));
      }
    }
  }
  release_tiles();
}

void run_int8_sparse(const Int8Args& args, Share share, void* scratch) {
  configure_tiles();
  run_sparse_share<MatrixTiles>(args, share, scratch);
  release_tiles();
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
