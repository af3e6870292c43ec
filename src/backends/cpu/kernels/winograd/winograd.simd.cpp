// The walk over blocks of tiles and groups of panels. What a block needs stays in the L2 cache from the input transform
// over the matrix products to the output transform.
#include "backends/cpu/kernels/winograd/winograd.h"

#include "backends/cpu/kernels/tile/tile_core.h"
#include "backends/cpu/kernels/winograd/winograd_transform.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// The place of a tile in the output, counted in tiles.
struct Tile {
  int64_t image;
  int64_t y;
  int64_t x;
};

template <int kOutput>
class Walk {
 public:
  Walk(const ConvArgs& args, const WinogradBlock& most, float* scratch)
      : args_(args),
        tiles_y_(winograd_tiles(kOutput, args.out[1])),
        tiles_x_(winograd_tiles(kOutput, args.out[2])),
        chunks_((args.channels + kTileChunk - 1) / kTileChunk),
        most_(most),
        inputs_(scratch),
        sums_(inputs_ + kPositions * (most.tiles * chunks_ + most.tiles) * kTileChunk),
        buffer_(sums_ + most.tiles * (kPositions * most.panels + 1) * kPanelColumns) {}

  void run(Range tiles, Range panels) {
    const int64_t total = tiles.end - tiles.begin, wide = panels.end - panels.begin;
    if (total <= 0 || wide <= 0) return;
    const int64_t blocks = (total + most_.tiles - 1) / most_.tiles;
    const int64_t groups = (wide + most_.panels - 1) / most_.panels;
    // Groups of whole register tiles, but for the last one.
    const int64_t even = ((wide + groups - 1) / groups + 1) / 2 * 2;
    const int64_t step = even < most_.panels ? even : most_.panels;
    for (int64_t block = 0; block < blocks; ++block) {
      const Range part = part_of(total, blocks, block);
      tiles_ = {tiles.begin + part.begin, tiles.begin + part.end};
      row_tiles_ = (part.end - part.begin + kTileRows - 1) / kTileRows;
      transform_inputs();
      for (int64_t panel = panels.begin; panel < panels.end; panel += step) {
        panels_ = {panel, panel + step < panels.end ? panel + step : panels.end};
        sum_pitch_ = (kPositions * (panels_.end - panels_.begin) + 1) * kPanelColumns;
        multiply();
        transform_outputs();
      }
    }
  }

 private:
  static constexpr int kInput = kOutput + 2;
  static constexpr int64_t kPositions = kInput * kInput;

  Tile tile_at(int64_t index) const {
    return {index / (tiles_x_ * tiles_y_), index / tiles_x_ % tiles_y_, index % tiles_x_};
  }
  void advance(Tile& tile) const {
    if (++tile.x < tiles_x_) return;
    tile.x = 0;
    if (++tile.y < tiles_y_) return;
    tile.y = 0;
    ++tile.image;
  }

  int64_t width() const { return (panels_.end - panels_.begin) * kPanelColumns; }
  // Rows of register tile i of the block, and its transformed input [position][chunk][row][16]. A cache line between
  // the positions keeps them from falling into the same set of the cache.
  Range rows_of(int64_t i) const { return part_of(tiles_.end - tiles_.begin, row_tiles_, i); }
  int64_t position_floats(Range rows) const { return ((rows.end - rows.begin) * chunks_ + 1) * kTileChunk; }
  float* inputs_of(int64_t i) const {
    const int64_t before = rows_of(i).begin;
    return inputs_ + kPositions * (before * chunks_ + i) * kTileChunk;
  }

  // The 16 channels from `channel` of a tile that reaches beyond the input, or of the last channels: in a patch.
  void gather(const Tile& tile, int64_t channel, float* patch) const {
    const int left = static_cast<int>(args_.channels - channel < kTileChunk ? args_.channels - channel : kTileChunk);
    const int64_t first_y = tile.y * kOutput - args_.pad[1], first_x = tile.x * kOutput - args_.pad[2];
    for (int64_t y = first_y; y < first_y + kInput; ++y) {
      for (int64_t x = first_x; x < first_x + kInput; ++x, patch += kTileChunk) {
        const bool inside = y >= 0 && y < args_.in[1] && x >= 0 && x < args_.in[2];
        if (!inside) {
          zero16(patch);
          continue;
        }
        const float* pixel =
            args_.input + ((tile.image * args_.in[1] + y) * args_.in[2] + x) * args_.input_pitch + channel;
        if (left == kTileChunk) {
          copy16(patch, pixel);
          continue;
        }
        for (int i = 0; i < kTileChunk; i += kLanes) {
          store(patch + i, i < left ? load_up_to(pixel + i, left - i) : set(0.0f));
        }
      }
    }
  }

  void transform_inputs() const {
    alignas(64) float patch[kPositions * kTileChunk];
    Tile tile = tile_at(tiles_.begin);
    for (int64_t i = 0; i < row_tiles_; ++i) {
      const Range rows = rows_of(i);
      const int64_t position = position_floats(rows), count = rows.end - rows.begin;
      for (int64_t row = 0; row < count; ++row, advance(tile)) {
        float* out = inputs_of(i) + row * kTileChunk;
        const int64_t y = tile.y * kOutput - args_.pad[1], x = tile.x * kOutput - args_.pad[2];
        const bool inside = y >= 0 && y + kInput <= args_.in[1] && x >= 0 && x + kInput <= args_.in[2];
        const int64_t pixel = (tile.image * args_.in[1] + y) * args_.in[2] + x;
        for (int64_t channel = 0; channel < args_.channels; channel += kTileChunk, out += count * kTileChunk) {
          TileSource source = {patch, kInput * kTileChunk, kTileChunk};
          if (inside && channel + kTileChunk <= args_.channels) {
            source = {args_.input + pixel * args_.input_pitch + channel, args_.in[2] * args_.input_pitch,
                      args_.input_pitch};
          } else {
            gather(tile, channel, patch);
          }
          transform_input<kOutput>(source, out, position);
        }
      }
    }
  }

  // sums [tile][position][panels * 16] = inputs x filter.
  void multiply() const {
    alignas(64) static constexpr float kZeros[8 * 16] = {};
    const int64_t panel_floats = kPositions * args_.channels * kPanelColumns;
    const int widest = max_panels(static_cast<int>(rows_of(row_tiles_ - 1).end - rows_of(row_tiles_ - 1).begin));
    TileOutput out = {nullptr, sum_pitch_, kZeros, nullptr, 0, -INFINITY, INFINITY, 0};
    for (int64_t position = 0; position < kPositions; ++position) {
      for (int64_t panel = panels_.begin; panel < panels_.end;) {
        int step = widest;
        while (step > panels_.end - panel) step /= 2;
        out.columns = step * static_cast<int>(kPanelColumns);
        const float* b = args_.filter + panel * panel_floats + position * args_.channels * kPanelColumns;
        for (int64_t i = 0; i < row_tiles_; ++i) {
          const Range rows = rows_of(i);
          out.c = sums_ + rows.begin * sum_pitch_ + position * width() + (panel - panels_.begin) * kPanelColumns;
          const TileKernel kernel = tile_kernel(static_cast<int>(rows.end - rows.begin), step, step * 16);
          kernel(inputs_of(i) + position * position_floats(rows), b, panel_floats, args_.channels, out);
        }
        panel += step;
      }
    }
  }

  void transform_outputs() const {
    Tile tile = tile_at(tiles_.begin);
    const int64_t count = tiles_.end - tiles_.begin;
    const bool whole_panels = panels_.end * kPanelColumns <= args_.filters;
    const bool has_program = args_.epilogue.program != nullptr;
    for (int64_t i = 0; i < count;) {
      const bool whole =
          whole_panels && (tile.y + 1) * kOutput <= args_.out[1] && (tile.x + 1) * kOutput <= args_.out[2];
      if (whole && !has_program) {
        finish_tile(tile, i);
        advance(tile);
        ++i;
        continue;
      }
      int64_t run = has_program ? kWinogradRun : 1;
      if (run > tiles_x_ - tile.x) run = tiles_x_ - tile.x;
      if (run > count - i) run = count - i;
      finish_run(tile, i, run);
      tile.x += run - 1;
      advance(tile);
      i += run;
    }
  }

  // The bias of a panel, with zeros behind the last filter in `padded`.
  const float* bias_of(int64_t panel, float* padded) const {
    const int64_t first = panel * kPanelColumns;
    if (args_.epilogue.bias != nullptr && first + kPanelColumns <= args_.filters) return args_.epilogue.bias + first;
    for (int64_t i = 0; i < kPanelColumns; ++i) {
      padded[i] = args_.epilogue.bias != nullptr && first + i < args_.filters ? args_.epilogue.bias[first + i] : 0.0f;
    }
    return padded;
  }

  int64_t pixel_of(const Tile& tile, int64_t line) const {
    return (tile.image * args_.out[1] + tile.y * kOutput + line) * args_.out[2] + tile.x * kOutput;
  }

  // A tile whose outputs go straight to their places; `index` counts in the block.
  void finish_tile(const Tile& tile, int64_t index) const {
    alignas(64) float padded[kPanelColumns];
    const Epilogue& epilogue = args_.epilogue;
    const int64_t pixel = pixel_of(tile, 0);
    for (int64_t panel = panels_.begin; panel < panels_.end; ++panel) {
      const int64_t first = panel * kPanelColumns;
      const float* residual =
          epilogue.residual == nullptr ? nullptr : epilogue.residual + pixel * epilogue.residual_pitch + first;
      const OutputTile target = {args_.output + pixel * args_.output_pitch + first,
                                 args_.out[2] * args_.output_pitch,
                                 args_.output_pitch,
                                 bias_of(panel, padded),
                                 residual,
                                 args_.out[2] * epilogue.residual_pitch,
                                 epilogue.residual_pitch,
                                 epilogue.low,
                                 epilogue.high};
      transform_output<kOutput>(sums_ + index * sum_pitch_ + (panel - panels_.begin) * kPanelColumns, width(), target);
    }
  }

  // `run` tiles of one line through the buffer [line][pixel][panels * 16]: cuts off what lies outside of the output,
  // and gives programs long rows.
  void finish_run(const Tile& tile, int64_t index, int64_t run) const {
    alignas(64) float padded[kPanelColumns];
    const int64_t line = run * kOutput * width();
    for (int64_t panel = panels_.begin; panel < panels_.end; ++panel) {
      const int64_t column = (panel - panels_.begin) * kPanelColumns;
      const float* bias = bias_of(panel, padded);
      for (int64_t i = 0; i < run; ++i) {
        const OutputTile target = {
            buffer_ + i * kOutput * width() + column, line, width(), bias, nullptr, 0, 0, -INFINITY, INFINITY};
        transform_output<kOutput>(sums_ + (index + i) * sum_pitch_ + column, width(), target);
      }
    }
    int64_t lines = args_.out[1] - tile.y * kOutput, pixels = args_.out[2] - tile.x * kOutput;
    if (lines > kOutput) lines = kOutput;
    if (pixels > run * kOutput) pixels = run * kOutput;
    for (int64_t i = 0; i < lines; ++i) finish_line(buffer_ + i * line, pixel_of(tile, i), pixels);
  }

  // The rest of the epilogue on pixels in the buffer.
  void finish_line(float* line, int64_t pixel, int64_t pixels) const {
    const Epilogue& epilogue = args_.epilogue;
    const int64_t first = panels_.begin * kPanelColumns;
    const int columns = static_cast<int>(args_.filters - first < width() ? args_.filters - first : width());
    float* const output = args_.output + pixel * args_.output_pitch + first;
    const bool has_program = epilogue.program != nullptr;
    float* const target = has_program ? line : output;
    const int64_t pitch = has_program ? width() : args_.output_pitch;
    const Vec low = set(epilogue.low), high = set(epilogue.high);
    for (int64_t i = 0; i < pixels; ++i) {
      const float* residual =
          epilogue.residual == nullptr ? nullptr : epilogue.residual + (pixel + i) * epilogue.residual_pitch + first;
      for (int column = 0; column < columns; column += kLanes) {
        const int left = columns - column;
        Vec y = load(line + i * width() + column);
        if (residual != nullptr) y = y + load_up_to(residual + column, left);
        store_up_to(target + i * pitch + column, clamp(y, low, high), left);
      }
    }
    if (!has_program) return;
    const Product product = {0, 0, nullptr, nullptr, 0, pixel, first, 1, &epilogue};
    run_program(product, 0, {line, output, width(), args_.output_pitch, 0, first, pixels, columns});
  }

  const ConvArgs& args_;
  const int64_t tiles_y_, tiles_x_;
  const int64_t chunks_;  // of 16 channels
  const WinogradBlock most_;
  float* const inputs_;
  float* const sums_;
  float* const buffer_;
  // The block and the group of panels at work.
  Range tiles_{};
  int64_t row_tiles_ = 0;
  Range panels_{};
  int64_t sum_pitch_ = 0;  // from tile to tile
};

template <int kOutput>
void run_share(const ConvArgs& args, Share share, float* scratch) {
  const int64_t tiles = args.batch * winograd_tiles(kOutput, args.out[1]) * winograd_tiles(kOutput, args.out[2]);
  const Work work = share_of_work(1, tiles, panel_count(args.filters), share, args.cut);
  if (work.items.begin == work.items.end) return;
  Walk<kOutput>(args, winograd_block(kOutput, args.channels, args.filters, tiles), scratch).run(work.rows, work.panels);
}

void run(const WinogradArgs& args, Share share, void* scratch) {
  float* const memory = static_cast<float*>(scratch);
  args.output == 2 ? run_share<2>(args.conv, share, memory) : run_share<4>(args.conv, share, memory);
}

}  // namespace

extern const WinogradTable winograd_table = {run};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
