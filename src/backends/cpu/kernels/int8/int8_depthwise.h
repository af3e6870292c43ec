// Depthwise convolution of bytes, for every level. A lane is a channel and holds up to four taps that lie above one
// another, so that one instruction multiplies and adds all of them (vpdpbusd), or two (vpmaddwd). A window's columns
// are shared by the pixels beside it: each is read and put together once. Internal to kernels/int8.
#pragma once
#include "backends/cpu/kernels/int8/int8_driver.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

constexpr int kDepthwisePixels = kLanes == 16 ? 8 : 4;  // of a line, in registers together
constexpr int kDepthwiseLine = 64;                      // pixels that are finished together
constexpr int kDepthwisePanels = 4;                     // of 16 channels, one after the other along a line
constexpr int kMostPatchTaps = 2 * 5;
constexpr int kTapsDeep = static_cast<int>(kInt8DepthwiseTaps);
static_assert(kDepthwiseLine * kInt8Columns <= kInt8TileSums && kLanes <= kInt8Columns);

#if defined(__AVX512VNNI__)
// Four bytes in every lane.
struct TapQuad {
  IVec all;
};
HUSSAR_INLINE TapQuad weights_of(IVec bytes) { return {bytes}; }
template <int kRows>
HUSSAR_INLINE IVec add_products(IVec sum, TapQuad taps, TapQuad weights) {
  return {_mm512_dpbusd_epi32(sum.v, taps.all.v, weights.all.v)};
}
#else
// Two numbers of 16 bits in every lane, the taps 0 and 1, and 2 and 3.
struct TapQuad {
  IVec low, high;
};
HUSSAR_INLINE IVec multiply_pairs(IVec a, IVec b) {
#if defined(__AVX512F__)
  return {_mm512_madd_epi16(a.v, b.v)};
#elif defined(__AVX2__)
  return {_mm256_madd_epi16(a.v, b.v)};
#else
  return {static_cast<int16_t>(a.v) * static_cast<int16_t>(b.v) + (a.v >> 16) * (b.v >> 16)};
#endif
}
// Signed bytes.
HUSSAR_INLINE TapQuad weights_of(IVec bytes) {
  const IVec low_half = iset(0xffff);
  const IVec tap0 = shift_right<24>(shift_left<24>(bytes)), tap1 = shift_right<24>(shift_left<16>(bytes));
  const IVec tap2 = shift_right<24>(shift_left<8>(bytes)), tap3 = shift_right<24>(bytes);
  return {(tap0 & low_half) | shift_left<16>(tap1), (tap2 & low_half) | shift_left<16>(tap3)};
}
template <int kRows>
HUSSAR_INLINE IVec add_products(IVec sum, TapQuad taps, TapQuad weights) {
  sum = sum + multiply_pairs(taps.low, weights.low);
  if constexpr (kRows > 2) sum = sum + multiply_pairs(taps.high, weights.high);
  return sum;
}
#endif

// Up to four lines of an image under one another, at the first channel; in the padding a pixel of zero points that
// every column reads.
struct Lines {
  const uint8_t* data[kTapsDeep];
  int64_t step[kTapsDeep];  // bytes from a column to the next
};

template <int kRows, bool kWhole>
HUSSAR_INLINE TapQuad read_taps(const Lines& lines, int64_t column, int64_t channel, int left) {
  IVec rows[4];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const uint8_t* const from = lines.data[r] + column * lines.step[r] + channel;
    rows[r] = kWhole ? load_bytes(from) : load_bytes_up_to(from, left);
  }
  TapQuad taps{};
#if defined(__AVX512VNNI__)
  taps.all = rows[0];
  if constexpr (kRows > 1) taps.all = taps.all | shift_left<8>(rows[1]);
  if constexpr (kRows > 2) taps.all = taps.all | shift_left<16>(rows[2]);
  if constexpr (kRows > 3) taps.all = taps.all | shift_left<24>(rows[3]);
#else
  taps.low = taps.high = iset(0);
  taps.low = rows[0];
  if constexpr (kRows > 1) taps.low = taps.low | shift_left<16>(rows[1]);
  if constexpr (kRows > 2) taps.high = rows[2];
  if constexpr (kRows > 3) taps.high = taps.high | shift_left<16>(rows[3]);
#endif
  return taps;
}

HUSSAR_INLINE TapQuad read_weights(const int8_t* weights, int64_t column) {
  return weights_of(load_ints(reinterpret_cast<const int32_t*>(weights + column * kInt8Columns * kTapsDeep)));
}

// One output line: the windows' rows, four at a time, and the channels of one vector.
struct DepthwiseLine {
  const ConvArgs* conv;
  Lines groups[kTapsDeep * kTapsDeep];
  Lines zeros;
  int group_count;
  int64_t channel;
  int left;               // channels from there on
  const int8_t* weights;  // of the vector's lanes
  TapQuad quads[kMostPatchTaps];

  int rows_of(int group) const {
    const auto rest = static_cast<int>(conv->kernel[1]) - group * kTapsDeep;
    return rest < kTapsDeep ? rest : kTapsDeep;
  }
  const int8_t* weights_of_group(int group) const {
    return weights + group * conv->kernel[2] * kInt8Columns * kTapsDeep;
  }
};

template <int kRows, bool kWhole>
IVec sum_window_rows(const DepthwiseLine& line, int group, int64_t x, IVec sum) {
  const ConvArgs& conv = *line.conv;
  const int8_t* const weights = line.weights_of_group(group);
  int64_t column = x * conv.stride[2] - conv.pad[2];
  for (int64_t kx = 0; kx < conv.kernel[2]; ++kx, column += conv.dilation[2]) {
    const bool inside = column >= 0 && column < conv.in[2];
    const TapQuad taps = read_taps<kRows, kWhole>(inside ? line.groups[group] : line.zeros, inside ? column : 0,
                                                  line.channel, line.left);
    sum = add_products<kRows>(sum, taps, read_weights(weights, kx));
  }
  return sum;
}

// Any pixel of any window.
template <bool kWhole>
IVec sum_pixel(const DepthwiseLine& line, int64_t x) {
  IVec sum = iset(0);
  for (int group = 0; group < line.group_count; ++group) {
    switch (line.rows_of(group)) {
      case 1: sum = sum_window_rows<1, kWhole>(line, group, x, sum); break;
      case 2: sum = sum_window_rows<2, kWhole>(line, group, x, sum); break;
      case 3: sum = sum_window_rows<3, kWhole>(line, group, x, sum); break;
      default: sum = sum_window_rows<4, kWhole>(line, group, x, sum);
    }
  }
  return sum;
}

// Adds what kRows rows of windows of kTaps columns give to neighbouring pixels, kStride columns apart. kInside: all
// their columns lie in the line.
template <int kRows, int kTaps, int kStride, bool kWhole, bool kInside>
HUSSAR_INLINE void slide(const DepthwiseLine& line, int group, int64_t column, const TapQuad* weights,
                         IVec (&sums)[kDepthwisePixels]) {
  const Lines& lines = line.groups[group];
#pragma GCC unroll 32
  for (int i = 0; i < (kDepthwisePixels - 1) * kStride + kTaps; ++i) {
    const bool inside = kInside || (column + i >= 0 && column + i < line.conv->in[2]);
    const TapQuad taps = inside ? read_taps<kRows, kWhole>(lines, column + i, line.channel, line.left)
                                : read_taps<kRows, kWhole>(line.zeros, 0, line.channel, line.left);
#pragma GCC unroll 8
    for (int x = 0; x < kDepthwisePixels; ++x) {
      const int kx = i - x * kStride;
      if (kx >= 0 && kx < kTaps) sums[x] = add_products<kRows>(sums[x], taps, weights[kx]);
    }
  }
}

// kDepthwisePixels pixels of square windows of 3 or 5 taps; their weights are line.quads.
template <int kTaps, int kStride, bool kWhole, bool kInside>
void sum_patch(const DepthwiseLine& line, int64_t x, int32_t* sums) {
  const int64_t column = x * kStride - line.conv->pad[2];
  IVec sum[kDepthwisePixels];
#pragma GCC unroll 8
  for (int p = 0; p < kDepthwisePixels; ++p) sum[p] = iset(0);
  constexpr int kFirst = kTaps < kTapsDeep ? kTaps : kTapsDeep;
  slide<kFirst, kTaps, kStride, kWhole, kInside>(line, 0, column, line.quads, sum);
  if constexpr (kTaps > kTapsDeep) {
    slide<kTaps - kTapsDeep, kTaps, kStride, kWhole, kInside>(line, 1, column, line.quads + kTaps, sum);
  }
#pragma GCC unroll 8
  for (int p = 0; p < kDepthwisePixels; ++p) {
    store(reinterpret_cast<float*>(sums + p * kInt8Columns), from_bits(sum[p]));
  }
}

using SumPatch = void (*)(const DepthwiseLine&, int64_t x, int32_t* sums);
template <bool kWhole, bool kInside>
SumPatch patch_function(const ConvArgs& conv) {
  const bool single = conv.stride[2] == 1;
  if (conv.kernel[2] == 3) return single ? sum_patch<3, 1, kWhole, kInside> : sum_patch<3, 2, kWhole, kInside>;
  return single ? sum_patch<5, 1, kWhole, kInside> : sum_patch<5, 2, kWhole, kInside>;
}
inline bool has_patches(const ConvArgs& conv) {
  const bool square = conv.kernel[1] == conv.kernel[2] && (conv.kernel[2] == 3 || conv.kernel[2] == 5);
  return square && conv.dilation[2] == 1 && conv.stride[2] <= 2;
}

// The sums [pixel][16] of the pixels [begin, end) of the line; may write the sums of a patch too many.
template <bool kWhole>
void sum_pixels(DepthwiseLine& line, int64_t begin, int64_t end, int32_t* sums) {
  const ConvArgs& conv = *line.conv;
  if (!has_patches(conv)) {
    for (int64_t x = begin; x < end; ++x) {
      store(reinterpret_cast<float*>(sums + (x - begin) * kInt8Columns), from_bits(sum_pixel<kWhole>(line, x)));
    }
    return;
  }
  for (int i = 0; i < line.group_count * conv.kernel[2]; ++i) line.quads[i] = read_weights(line.weights, i);
  const SumPatch inside = patch_function<kWhole, true>(conv), anywhere = patch_function<kWhole, false>(conv);
  const int64_t columns = (kDepthwisePixels - 1) * conv.stride[2] + conv.kernel[2];
  for (int64_t x = begin; x < end; x += kDepthwisePixels) {
    const int64_t column = x * conv.stride[2] - conv.pad[2];
    const bool is_inside = column >= 0 && column + columns <= conv.in[2];
    (is_inside ? inside : anywhere)(line, x, sums + (x - begin) * kInt8Columns);
  }
}

// The lines that output line `y` of an image sees.
inline void find_lines(const ConvArgs& conv, const uint8_t* image, int64_t y, DepthwiseLine& line) {
  for (int64_t ky = 0; ky < conv.kernel[1]; ++ky) {
    const int64_t in_y = y * conv.stride[1] - conv.pad[1] + ky * conv.dilation[1];
    Lines& lines = line.groups[ky / kTapsDeep];
    const bool inside = in_y >= 0 && in_y < conv.in[1];
    lines.data[ky % kTapsDeep] = inside ? image + in_y * conv.in[2] * conv.input_pitch : line.zeros.data[0];
    lines.step[ky % kTapsDeep] = inside ? conv.input_pitch : 0;
  }
}

// The channels [first, last) of output line number `index`.
inline void run_depthwise_line(const Int8Args& args, int64_t index, int64_t first, int64_t last,
                               const Int8Columns* facts, DepthwiseLine& line) {
  const ConvArgs& conv = args.conv;
  const int64_t block_bytes = int8_depthwise_block_bytes(conv.kernel[1], conv.kernel[2]);
  alignas(64) int32_t sums[(kDepthwiseLine + kDepthwisePixels) * kInt8Columns];
  find_lines(conv, args.input + index / conv.out[1] * conv.in[1] * conv.in[2] * conv.input_pitch, index % conv.out[1],
             line);
  for (int64_t x = 0; x < conv.out[2]; x += kDepthwiseLine) {
    const int64_t end = x + kDepthwiseLine < conv.out[2] ? x + kDepthwiseLine : conv.out[2];
    for (int64_t panel = first; panel < last; panel += kInt8Columns) {
      const auto columns = static_cast<int>(last - panel < kInt8Columns ? last - panel : kInt8Columns);
      for (int lane = 0; lane < columns; lane += kLanes) {
        line.channel = panel + lane;
        line.left = columns - lane;
        line.weights = args.weights + panel / kInt8Columns * block_bytes + lane * kTapsDeep;
        if (line.left >= kLanes) {
          sum_pixels<true>(line, x, end, sums + lane);
        } else {
          sum_pixels<false>(line, x, end, sums + lane);
        }
      }
      finish_int8_tile(args, facts[(panel - first) / kInt8Columns],
                       {sums, kInt8Columns, index * conv.out[2] + x, static_cast<int>(end - x), panel, columns});
    }
  }
}

inline void run_depthwise_share(const Int8Args& args, Share share, void* scratch) {
  const ConvArgs& conv = args.conv;
  const int64_t block_bytes = int8_depthwise_block_bytes(conv.kernel[1], conv.kernel[2]);
  memset(scratch, args.input_zero_point, static_cast<size_t>(int8_depthwise_scratch_bytes(conv.groups)));
  DepthwiseLine line{};
  line.conv = &conv;
  line.group_count = static_cast<int>((conv.kernel[1] + kTapsDeep - 1) / kTapsDeep);
  for (int r = 0; r < kTapsDeep; ++r) line.zeros.data[r] = static_cast<const uint8_t*>(scratch);
  const Range lines = part_of(conv.batch * conv.out[1], share.count, share.index);
  constexpr int64_t kChannels = kDepthwisePanels * kInt8Columns;
  Int8Columns facts[kDepthwisePanels];
  for (int64_t first = 0; first < conv.groups; first += kChannels) {
    const int64_t last = first + kChannels < conv.groups ? first + kChannels : conv.groups;
    for (int64_t panel = first; panel < last; panel += kInt8Columns) {
      const int8_t* const sums = args.weights + (panel / kInt8Columns + 1) * block_bytes - kInt8Columns * 4;
      const auto columns = static_cast<int>(last - panel < kInt8Columns ? last - panel : kInt8Columns);
      read_columns(args, sums, 0, 1, panel, columns, facts[(panel - first) / kInt8Columns]);
    }
    for (int64_t index = lines.begin; index < lines.end; ++index) {
      run_depthwise_line(args, index, first, last, facts, line);
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
