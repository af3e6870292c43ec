// The output channels are the lanes. Where a vector holds filters of one group only, input channels are broadcast to
// it. Otherwise filters of several groups lie side by side, so that no multiplication is wasted on the channels of
// other groups, and every lane gets channel j of its own group when the input lines are copied: vector (j, pixel) holds
// what all lanes multiply with their weights for j, once for all taps. The rest is a depthwise convolution with
// `channels` times as many taps.
#include "backends/cpu/kernels/grouped/grouped.h"

#include "backends/cpu/kernels/pointwise/program.h"
#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// Sums held in registers, beside the taps of one kernel row and an input.
constexpr int kMostPixels = kLanes == 16 ? 14 : 10;
// Input floats of a band of rows that all vectors of filters pass over: they stay in the L2 cache.
constexpr int64_t kBandFloats = 48 * 1024;
constexpr int64_t kLeastBand = 8;

struct Range {
  int64_t begin;
  int64_t end;
};

HUSSAR_INLINE Range part_of(int64_t size, int64_t parts, int64_t index) {
  return {size * index / parts, size * (index + 1) / parts};
}

// Lanes are permuted inside of a part: the whole vector, or half of one of AVX2, where going beyond takes three times
// as long. Lane l of the result is lane index[l] of its part of a.
#if defined(__AVX512F__)
constexpr int kPart = 16;
HUSSAR_INLINE IVec load_index(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
HUSSAR_INLINE Vec permute(Vec a, IVec index) { return {_mm512_permutexvar_ps(index.v, a.v)}; }
#elif defined(__AVX2__)
constexpr int kPart = 4;
HUSSAR_INLINE IVec load_index(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
HUSSAR_INLINE Vec permute(Vec a, IVec index) { return {_mm256_permutevar_ps(a.v, index.v)}; }
#else
constexpr int kPart = 1;
HUSSAR_INLINE IVec load_index(const int32_t* p) { return {*p}; }
HUSSAR_INLINE Vec permute(Vec a, IVec) { return a; }
#endif
constexpr int kParts = kLanes / kPart;

// The filters [first, first + count), at most a vector of them, and where the channels of their groups are.
struct Lanes {
  int64_t first;
  int count;
  int64_t base;    // channel 0 of the first lane's group
  int64_t groups;  // that the lanes belong to
  bool broadcast;  // they belong to one
  // Channel j of lane l is at j + l / kPart * kPart + index[l] from `base` on; or, where the channels of a part lie too
  // far apart for that, at j * kLanes + l / kPart * kPart + index[l] of a line that is sorted first.
  bool sorted;
  int32_t index[16];
  int64_t part_group[kParts];  // the first of a part, counted from the first lane's
  int64_t part_groups[kParts];
};

Lanes lanes_from(const ConvArgs& args, int64_t first, int count) {
  Lanes lanes = {};
  const int64_t group = first / args.filters;
  lanes.first = first;
  lanes.count = count;
  lanes.base = group * args.channels;
  lanes.groups = (first + count - 1) / args.filters - group + 1;
  lanes.broadcast = lanes.groups == 1;
  for (int part = 0; part < kParts; ++part) {
    const int begin = part * kPart < count ? part * kPart : count - 1;
    const int last = begin + kPart <= count ? begin + kPart - 1 : count - 1;
    lanes.part_group[part] = (first + begin) / args.filters - group;
    lanes.part_groups[part] = (first + last) / args.filters - group - lanes.part_group[part] + 1;
  }
  for (int i = 0; i < count; ++i) {
    const int64_t channel = ((first + i) / args.filters - group) * args.channels - i / kPart * kPart;
    if (channel < 0 || channel + args.channels > kPart) lanes.sorted = true;
    lanes.index[i] = static_cast<int32_t>(channel);
  }
  if (!lanes.sorted) return lanes;
  for (int i = 0; i < count; ++i) {
    const int64_t of_part = (first + i) / args.filters - group - lanes.part_group[i / kPart];
    lanes.index[i] = static_cast<int32_t>(of_part);
  }
  return lanes;
}

// Channel j of all groups of the first part, of the second, then j + 1, for every pixel.
void sort_channels(const ConvArgs& args, const Lanes& lanes, const float* from, int64_t pixels, float* to) {
  const int64_t channels = args.channels, pitch = args.input_pitch;
  for (int64_t i = 0; i < pixels; ++i, from += pitch, to += channels * kLanes) {
    for (int part = 0; part < kParts; ++part) {
      const float* source = from + lanes.part_group[part] * channels;
      for (int64_t g = 0; g < lanes.part_groups[part]; ++g, source += channels) {
        float* target = to + part * kPart + g;
        for (int64_t c = 0; c < channels; ++c) target[c * kLanes] = source[c];
      }
    }
  }
}

// What one vector of filters does with a block of columns: input lines in a ring of slots.
struct Block {
  const ConvArgs& args;
  const Lanes& lanes;
  const float* weights;  // of tap 0, channel 0
  int64_t image;
  int64_t column;   // the first output pixel of the block
  int64_t columns;  // of output pixels
  int64_t pixels;   // of input under them
  int64_t slots;
  // [slots][pixels][channels] to broadcast, or [slots][channels][pixels][kLanes]; behind every slot, room for 16
  // floats.
  float* lines;
  float* spare;  // one line more
  Vec bias, low, high;
  IVec index;
  bool simple;  // all lanes are filters, and the epilogue has bias and bounds only

  int64_t line_floats() const { return pixels * args.channels * (lanes.broadcast ? 1 : kLanes) + 16; }

  // Pixels of an input line, from channel lanes.base on, to their place in a slot.
  void copy(const float* from, int64_t count, float* to) const {
    const int64_t channels = args.channels, pitch = args.input_pitch;
    for (int64_t i = 0; i < count; ++i, from += pitch, to += channels) {
      for (int64_t c = 0; c < channels; c += kLanes)
        store(to + c, load_up_to(from + c, static_cast<int>(channels - c)));
    }
  }
  void spread(const float* from, int64_t count, float* to) const {
    const int64_t channels = args.channels, plane = pixels * kLanes;
    if (lanes.sorted) {
      sort_channels(args, lanes, from, count, spare);
      for (int64_t i = 0; i < count; ++i, to += kLanes) {
        const float* pixel = spare + i * channels * kLanes;
        for (int64_t j = 0; j < channels; ++j) store(to + j * plane, permute(load(pixel + j * kLanes), index));
      }
      return;
    }
    const IVec one = iset(1);
    const int wanted = static_cast<int>(lanes.groups * channels);
    for (int64_t i = 0; i < count; ++i, from += args.input_pitch, to += kLanes) {
      const Vec pixel = load_up_to(from, wanted);
      IVec at = index;
      float* out = to;
      for (int64_t j = 0; j < channels; ++j, out += plane, at = at + one) store(out, permute(pixel, at));
    }
  }

  // Brings input line y, which may lie in the padding, to its slot.
  void bring(int64_t y, int64_t slot) const {
    const int64_t x = column * args.stride[2] - args.pad[2];
    const bool inside = y >= 0 && y < args.in[1];
    int64_t begin = x < 0 ? -x : 0, end = args.in[2] - x < pixels ? args.in[2] - x : pixels;
    if (!inside || begin >= end) begin = end = pixels;
    // Runs of pixels in memory: one line of [pixel][channel], or one for each channel.
    const int64_t runs = lanes.broadcast ? 1 : args.channels, pixel = lanes.broadcast ? args.channels : kLanes;
    float* const to = lines + slot * line_floats();
    for (int64_t run = 0; run < runs; ++run) {
      float* const line = to + run * pixels * pixel;
      for (int64_t i = 0; i < begin * pixel; ++i) line[i] = 0.0f;
    }
    if (begin < end) {
      const float* from = args.input + ((image * args.in[1] + y) * args.in[2] + x + begin) * args.input_pitch;
      if (lanes.broadcast) {
        copy(from + lanes.base, end - begin, to + begin * pixel);
      } else {
        spread(from + lanes.base, end - begin, to + begin * pixel);
      }
    }
    // Behind the copied pixels, because the last of them may have written too much.
    for (int64_t run = 0; run < runs; ++run) {
      float* const line = to + run * pixels * pixel;
      for (int64_t i = end * pixel; i < pixels * pixel; ++i) line[i] = 0.0f;
    }
  }

  // What the lanes multiply with their weights for one channel of a pixel.
  template <bool kBroadcast>
  static HUSSAR_INLINE Vec take(const float* p) {
    if constexpr (kBroadcast) return set(*p);
    return load(p);
  }

  // One kernel row of kTaps taps (any number and dilation: 0), pixels kStride apart (any: 0).
  template <int kPixels, bool kBroadcast, int kTaps, int kStride>
  HUSSAR_INLINE void row(const float* line, const float* taps, Vec (&sum)[kPixels]) const {
    const int64_t channels = args.channels, step = channels * kPanelColumns;
    const int64_t pixel = kBroadcast ? channels : kLanes, next = kBroadcast ? 1 : pixels * kLanes;
    const int64_t kernel = args.kernel[2], stride = args.stride[2] * pixel, dilation = args.dilation[2] * pixel;
    for (int64_t channel = 0; channel < channels; ++channel, line += next, taps += kPanelColumns) {
      if constexpr (kTaps > 0) {
        Vec weight[kTaps];
#pragma GCC unroll 8
        for (int kx = 0; kx < kTaps; ++kx) weight[kx] = load(taps + kx * step);
        const float* at = line;
#pragma GCC unroll 32
        for (int i = 0; i < (kPixels - 1) * kStride + kTaps; ++i, at += pixel) {
          const Vec value = take<kBroadcast>(at);
#pragma GCC unroll 16
          for (int x = 0; x < kPixels; ++x) {
            const int kx = i - x * kStride;
            if (kx >= 0 && kx < kTaps) sum[x] = fma(value, weight[kx], sum[x]);
          }
        }
      } else {
        for (int64_t kx = 0; kx < kernel; ++kx) {
          const Vec weight = load(taps + kx * step);
          const float* at = line + kx * dilation;
#pragma GCC unroll 16
          for (int x = 0; x < kPixels; ++x, at += stride) sum[x] = fma(take<kBroadcast>(at), weight, sum[x]);
        }
      }
    }
  }

  // kPixels output pixels from x of the block on; slot: of the window's first line; pixel: of the output.
  template <int kPixels, bool kBroadcast, int kTaps, int kStride>
  void tile(int64_t x, int64_t slot, int64_t pixel) const {
    Vec sum[kPixels];
#pragma GCC unroll 16
    for (int i = 0; i < kPixels; ++i) sum[i] = bias;
    const float* taps = weights;
    const float* first = lines + x * args.stride[2] * (kBroadcast ? args.channels : kLanes);
    for (int64_t ky = 0; ky < args.kernel[1]; ++ky) {
      row<kPixels, kBroadcast, kTaps, kStride>(first + slot * line_floats(), taps, sum);
      taps += args.kernel[2] * args.channels * kPanelColumns;
      slot += args.dilation[1];
      if (slot >= slots) slot -= slots;
    }
    finish(sum, pixel);
  }

  template <int kPixels>
  HUSSAR_INLINE void finish(const Vec (&sum)[kPixels], int64_t pixel) const {
    const Epilogue& epilogue = args.epilogue;
    const int64_t pitch = args.output_pitch;
    float* out = args.output + pixel * pitch + lanes.first;
    if (simple) {
      const Vec least = low, most = high;
#pragma GCC unroll 16
      for (int i = 0; i < kPixels; ++i) store(out + i * pitch, clamp(sum[i], least, most));
      return;
    }
    const float* residual = epilogue.residual;
    if (residual != nullptr) residual += pixel * epilogue.residual_pitch + lanes.first;
#pragma GCC unroll 16
    for (int i = 0; i < kPixels; ++i) {
      Vec y = sum[i];
      if (residual != nullptr) y = y + load_up_to(residual + i * epilogue.residual_pitch, lanes.count);
      y = clamp(y, low, high);
      if (epilogue.hard_swish) y = hard_swish(y, set(epilogue.scale), set(epilogue.shift));
      store_up_to(out + i * pitch, y, lanes.count);
    }
  }
};

using TileFunction = void (Block::*)(int64_t x, int64_t slot, int64_t pixel) const;
struct Tiles {
  TileFunction of[kMostPixels + 1];
};

template <bool kBroadcast, int kTaps, int kStride, int kPixels = 1>
constexpr void fill(Tiles& tiles) {
  if constexpr (kPixels <= kMostPixels) {
    tiles.of[kPixels] = &Block::tile<kPixels, kBroadcast, kTaps, kStride>;
    fill<kBroadcast, kTaps, kStride, kPixels + 1>(tiles);
  }
}
template <bool kBroadcast, int kTaps, int kStride>
constexpr Tiles make_tiles() {
  Tiles tiles{};
  fill<kBroadcast, kTaps, kStride>(tiles);
  return tiles;
}
// [broadcast][any taps, 3 taps at stride 1, 3 taps at stride 2]
constexpr Tiles kTiles[2][3] = {{make_tiles<false, 0, 0>(), make_tiles<false, 3, 1>(), make_tiles<false, 3, 2>()},
                                {make_tiles<true, 0, 0>(), make_tiles<true, 3, 1>(), make_tiles<true, 3, 2>()}};

const Tiles& tiles_for(const ConvArgs& args, bool broadcast) {
  const bool three = args.kernel[2] == 3 && args.dilation[2] == 1 && args.stride[2] <= 2;
  return kTiles[broadcast ? 1 : 0][three ? args.stride[2] : 0];
}

// The output rows [begin, end) of one image.
void run_block(const Block& block, Range rows) {
  const ConvArgs& args = block.args;
  const Tiles& tiles = tiles_for(args, block.lanes.broadcast);
  const int64_t count = (block.columns + kMostPixels - 1) / kMostPixels;
  const int64_t reach = reach_of(args, 1), step = grouped_new_lines(args);
  // Brings what output row y needs beyond the row before it, one row ahead: a load soon after smaller stores to its
  // place is slow. The first line of the window of row y is in slot (y - rows.begin) * step of the ring.
  auto bring = [&](int64_t y, int64_t first) {
    const int64_t slot = (y - rows.begin) * step, line = y * args.stride[1] - args.pad[1];
    for (int64_t i = first; i < reach; ++i) block.bring(line + i, (slot + i) % block.slots);
  };
  bring(rows.begin, 0);
  for (int64_t y = rows.begin; y < rows.end; ++y) {
    if (y + 1 < rows.end) bring(y + 1, reach - step);
    const int64_t slot = (y - rows.begin) * step % block.slots;
    const int64_t pixel = (block.image * args.out[1] + y) * args.out[2] + block.column;
    for (int64_t i = 0; i < count; ++i) {
      const Range part = part_of(block.columns, count, i);
      (block.*tiles.of[part.end - part.begin])(part.begin, slot, pixel + part.begin);
    }
    if (args.epilogue.program == nullptr) continue;
    float* line = args.output + pixel * args.output_pitch + block.lanes.first;
    program_table.run(
        *args.epilogue.program, args.epilogue.operands,
        {line, line, args.output_pitch, args.output_pitch, pixel, block.lanes.first, block.columns, block.lanes.count});
  }
}

// One vector of filters, at `weights`, for the output rows [rows.begin, rows.end) of one image.
void run_lanes(const ConvArgs& args, const Lanes& lanes, const float* weights, int64_t image, Range rows,
               float* scratch) {
  const Epilogue& epilogue = args.epilogue;
  const int64_t most_columns = grouped_columns(args), slots = grouped_lines(args);
  for (int64_t column = 0; column < args.out[2]; column += most_columns) {
    const int64_t columns = args.out[2] - column < most_columns ? args.out[2] - column : most_columns;
    const int64_t pixels = (columns - 1) * args.stride[2] + reach_of(args, 2);
    const Block block = {args,
                         lanes,
                         weights,
                         image,
                         column,
                         columns,
                         pixels,
                         slots,
                         scratch,
                         scratch + slots * (pixels * args.channels * kLanes + 16),
                         epilogue.bias != nullptr ? load_up_to(epilogue.bias + lanes.first, lanes.count) : set(0.0f),
                         set(epilogue.low),
                         set(epilogue.high),
                         load_index(lanes.index),
                         lanes.count == kLanes && epilogue.residual == nullptr && !epilogue.hard_swish};
    run_block(block, rows);
  }
}

// The panels [panels.begin, panels.end) for the output rows [rows.begin, rows.end) of one image.
void run_band(const ConvArgs& args, int64_t image, Range rows, Range panels, float* scratch) {
  const int64_t panel_size = args.kernel[1] * args.kernel[2] * args.channels * kPanelColumns;
  const bool by_group = grouped_by_group(args.filters);
  const int64_t group_panels = by_group ? panel_count(args.filters) : grouped_panels(args.groups, args.filters);
  const int64_t group_filters = by_group ? args.filters : args.groups * args.filters;
  for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
    const int64_t group = panel / group_panels, first = panel % group_panels * kPanelColumns;
    for (int64_t i = 0; i < kPanelColumns; i += kLanes) {
      const int64_t left = group_filters - first - i;
      if (left <= 0) break;
      const Lanes lanes =
          lanes_from(args, group * group_filters + first + i, static_cast<int>(left < kLanes ? left : kLanes));
      run_lanes(args, lanes, args.filter + panel * panel_size + i, image, rows, scratch);
    }
  }
}

// Cuts rows x panels into at most share.count rectangles so that the largest is smallest; panels first, because every
// part of the rows brings the lines above its first one once more.
void run_conv(const ConvArgs& args, Share share, float* scratch) {
  const int64_t rows = args.batch * args.out[1], panels = grouped_panels(args.groups, args.filters);
  int64_t best = INT64_MAX, row_parts = 1, panel_parts = 1;
  for (int64_t r = 1; r <= share.count && r <= rows; ++r) {
    const int64_t p = share.count / r < panels ? share.count / r : panels;
    const int64_t cost = ((rows + r - 1) / r) * ((panels + p - 1) / p);
    if (cost < best) {
      best = cost;
      row_parts = r;
      panel_parts = p;
    }
  }
  if (share.index >= row_parts * panel_parts) return;
  const Range mine = part_of(rows, row_parts, share.index / panel_parts);
  const Range columns = part_of(panels, panel_parts, share.index % panel_parts);
  const int64_t fit = kBandFloats / (args.in[2] * args.groups * args.channels * args.stride[1] + 1);
  const int64_t band = fit < kLeastBand ? kLeastBand : fit;
  for (int64_t row = mine.begin; row < mine.end;) {
    const int64_t image = row / args.out[1], y = row % args.out[1];
    int64_t count = mine.end - row < args.out[1] - y ? mine.end - row : args.out[1] - y;
    if (count > band) {
      // Equal bands, so that the last is not a row or two.
      const int64_t bands = (count + band - 1) / band;
      count = (count + bands - 1) / bands;
    }
    run_band(args, image, {y, y + count}, columns, scratch);
    row += count;
  }
}

}  // namespace

extern const GroupedTable grouped_table = {run_conv};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
