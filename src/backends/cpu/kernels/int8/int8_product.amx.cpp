// INT8 products on the matrix unit: tiles of 16 rows and 16 columns, 64 of k at once. A tile's rows may lie apart, so
// where the channels fill them whole, A is not gathered: windows of stride 1 are read from lines with their padding, as
// rows that overlap, and rows of one pixel from the input itself.
#include "backends/cpu/kernels/amx/matrix_unit.h"
#include "backends/cpu/kernels/int8/int8_driver.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

constexpr int kTileRows = 32;

// Rows of A in memory: bytes from a row to the next, and where their k lies, in `lines` times `chunks` pieces of 64.
struct RowForm {
  int64_t row_bytes, chunk_bytes, chunks, line_bytes, lines;
};

template <int kRowTiles, int kPanels>
void multiply_tiles(const uint8_t* a, const RowForm& form, const int8_t* b, int64_t panel_bytes, int32_t* sums) {
  zero_tiles<kRowTiles, kPanels>();
  for (int64_t line = 0; line < form.lines; ++line, a += form.line_bytes) {
    const uint8_t* chunk = a;
    for (int64_t i = 0; i < form.chunks; ++i, chunk += form.chunk_bytes, b += kInt8Chunk * kInt8Columns) {
      load_tile<4>(chunk, form.row_bytes);
      if constexpr (kRowTiles > 1) load_tile<5>(chunk + 16 * form.row_bytes, form.row_bytes);
      load_tile<6>(b, kInt8Chunk);
      multiply_add_bytes<0, 4, 6>();
      if constexpr (kRowTiles > 1) multiply_add_bytes<2, 5, 6>();
      if constexpr (kPanels > 1) {
        load_tile<7>(b + panel_bytes, kInt8Chunk);
        multiply_add_bytes<1, 4, 7>();
        if constexpr (kRowTiles > 1) multiply_add_bytes<3, 5, 7>();
      }
    }
  }
  constexpr int64_t kPitch = kPanels * 16;
  store_tile_to<0>(sums, kPitch * 4);
  if constexpr (kPanels > 1) store_tile_to<1>(sums + 16, kPitch * 4);
  if constexpr (kRowTiles > 1) store_tile_to<2>(sums + 16 * kPitch, kPitch * 4);
  if constexpr (kRowTiles > 1 && kPanels > 1) store_tile_to<3>(sums + 16 * kPitch + 16, kPitch * 4);
}

void multiply_rows(const uint8_t* a, int rows, const RowForm& form, const int8_t* b, int panels, int64_t panel_bytes,
                   int32_t* sums) {
  if (rows > 16) {
    (panels > 1 ? multiply_tiles<2, 2> : multiply_tiles<2, 1>)(a, form, b, panel_bytes, sums);
  } else {
    (panels > 1 ? multiply_tiles<1, 2> : multiply_tiles<1, 1>)(a, form, b, panel_bytes, sums);
  }
}

struct MatrixTiles {
  using Element = uint8_t;
  static constexpr int kRows = kTileRows;
  static constexpr int most_panels(int) { return 2; }
  static void multiply(const uint8_t* a, int rows, const int8_t* b, int panels, int64_t k, int32_t* sums) {
    const RowForm form = {kInt8Chunk, rows * kInt8Chunk, int8_depth(k) / kInt8Chunk, 0, 1};
    multiply_rows(a, rows, form, b, panels, int8_panel_bytes(k), sums);
  }
};

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

// ---- windows of stride 1 -------------------------------------------------------------------------------------------

// Lines of the input with their padding, one behind the other. Position p of a plane is the top left corner of a
// window; those of kernel - 1 positions at the end of every line belong to no output pixel.
struct Plane {
  int64_t width;  // positions in a line
  int64_t lines;  // output lines at a time
};

// No lines: the convolution has no such form.
Plane plane_of(const ConvArgs& conv) {
  const bool plain = conv.kernel[0] == 1 && conv.in[0] == 1 && conv.out[0] == 1 && conv.stride[1] == 1 &&
                     conv.stride[2] == 1 && conv.dilation[1] == 1 && conv.dilation[2] == 1 &&
                     conv.kernel[2] * conv.channels % kInt8Chunk == 0;
  if (!plain) return {0, 0};
  const int64_t width = conv.out[2] + conv.kernel[2] - 1;
  // The last tile reads further than there are windows.
  const int64_t pixels = kInt8BlockBytes / conv.channels - kTileRows - conv.kernel[2];
  return {width, pixels / width - (conv.kernel[1] - 1)};
}

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

// Ends the tile of `count` windows from position p on; output row `origin` belongs to position 0.
void finish_windows(const Int8Args& args, const Int8Columns& facts, const PanelPair& pair, const int32_t* sums,
                    int64_t p, int64_t count, int64_t width, int64_t origin) {
  const int64_t pixels = args.conv.out[2], pitch = pair.panels * kInt8Columns;
  for (int64_t at = p; at < p + count;) {
    const int64_t line = at / width, x = at - line * width;
    const int64_t end = line * width + pixels < p + count ? line * width + pixels : p + count;
    if (at < end) {
      finish_int8_tile(args, facts, sums + (at - p) * pitch, pitch, origin + line * pixels + x,
                       static_cast<int>(end - at), pair.column, pair.columns);
    }
    at = (line + 1) * width;
  }
}

void run_windows(const Int8Args& args, int64_t group, int64_t k, const Work& work, const Plane& plane,
                 uint8_t* scratch) {
  const ConvArgs& conv = args.conv;
  const int64_t channels = conv.channels, pixels = conv.out[2], image_rows = conv.out[1] * pixels;
  const RowForm form = {channels, kInt8Chunk, conv.kernel[2] * channels / kInt8Chunk, plane.width * channels,
                        conv.kernel[1]};
  alignas(64) int32_t sums[kTileRows * 2 * kInt8Columns];
  for (int64_t row = work.rows.begin; row < work.rows.end;) {
    const int64_t image = row / image_rows, y = row % image_rows / pixels;
    const int64_t origin = image * image_rows + y * pixels;
    const int64_t lines = conv.out[1] - y < plane.lines ? conv.out[1] - y : plane.lines;
    const int64_t end = origin + lines * pixels < work.rows.end ? origin + lines * pixels : work.rows.end;
    const int64_t last = end - 1 - origin, used = last / pixels + 1;
    copy_lines(args, args.input + image * conv.in[1] * conv.in[2] * conv.input_pitch + group * channels, y,
               used + conv.kernel[1] - 1, plane.width, scratch);
    const int64_t end_position = (used - 1) * plane.width + last % pixels + 1;
    for_panel_pairs(args, group, k, work.panels, [&](const PanelPair& pair, const Int8Columns& facts) {
      for (int64_t p = row - origin; p < end_position; p += kTileRows) {
        const int64_t count = end_position - p < kTileRows ? end_position - p : kTileRows;
        multiply_rows(scratch + p * channels, static_cast<int>(count), form, pair.weights, pair.panels,
                      int8_panel_bytes(k), sums);
        finish_windows(args, facts, pair, sums, p, count, plane.width, origin);
      }
    });
    row = end;
  }
}

// ---- one pixel per row ---------------------------------------------------------------------------------------------

void run_pixels(const Int8Args& args, int64_t group, int64_t k, const Work& work, uint8_t* scratch) {
  const ConvArgs& conv = args.conv;
  const uint8_t* const input = args.input + group * conv.channels;
  const int64_t all_rows = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
  const RowForm direct = {conv.input_pitch, kInt8Chunk, k / kInt8Chunk, 0, 1};
  const int64_t fit = kInt8BlockBytes / k / kTileRows * kTileRows, block = fit > kTileRows ? fit : kTileRows;
  const PackInt8Rows<uint8_t> pack{input, conv.input_pitch, k};
  alignas(64) int32_t sums[kTileRows * 2 * kInt8Columns];
  for (int64_t begin = work.rows.begin; begin < work.rows.end; begin += block) {
    const int64_t end = begin + block < work.rows.end ? begin + block : work.rows.end;
    // A tile of fewer rows is read whole, which may be too far.
    const int64_t last = begin + (end - begin - 1) / kTileRows * kTileRows;
    const bool copies_last = last + kTileRows > all_rows;
    const auto rest = static_cast<int>(end - last);
    if (copies_last) pack(last, rest, scratch);
    const RowForm packed = {kInt8Chunk, rest * kInt8Chunk, k / kInt8Chunk, 0, 1};
    for_panel_pairs(args, group, k, work.panels, [&](const PanelPair& pair, const Int8Columns& facts) {
      for (int64_t row = begin; row < end; row += kTileRows) {
        const int count = row == last ? rest : kTileRows;
        const bool copied = row == last && copies_last;
        multiply_rows(copied ? scratch : input + row * conv.input_pitch, count, copied ? packed : direct, pair.weights,
                      pair.panels, int8_panel_bytes(k), sums);
        finish_int8_tile(args, facts, sums, pair.panels * kInt8Columns, row, count, pair.column, pair.columns);
      }
    });
  }
}

}  // namespace

void run_int8_product(const Int8Args& args, Share share, void* scratch) {
  const ConvArgs& conv = args.conv;
  const int64_t k = conv.kernel[0] * conv.kernel[1] * conv.kernel[2] * conv.channels;
  const bool pixels = is_pointwise(conv) && k % kInt8Chunk == 0;
  const Plane plane = plane_of(conv);
  configure_tiles();
  if (!pixels && plane.lines < 1) {
    run_int8_share<MatrixTiles>(args, share, scratch);
  } else {
    const int64_t rows = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
    const Work work = share_of_work(conv.groups, rows, int8_panel_count(conv.filters), share, {});
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

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
