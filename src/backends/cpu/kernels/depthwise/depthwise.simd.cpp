// The channels are the lanes. A patch of neighbouring output pixels times a few vectors of channels stays in registers
// over all taps.
#include "backends/cpu/kernels/depthwise/depthwise.h"

#include "backends/cpu/kernels/depthwise/interior.h"
#include "backends/cpu/kernels/pointwise/program.h"
#include "backends/cpu/simd/taps.h"
#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// Sums held in registers: enough independent chains to fill two multiply-add units of four cycles.
constexpr int kSums = 8;
// With a program, this many channels of a patch at a time pass through a buffer (8 pixels x 64 floats).
constexpr int64_t kBufferChannels = 64;
// Input floats of the rows that one vector of channels after the other passes over: they stay in the L2 cache, and what
// a program finishes in the L1 cache.
constexpr int64_t kInteriorBlock = 64 * 1024;
constexpr int64_t kProgramBlock = 8 * 1024;

struct Range {
  int64_t begin;
  int64_t end;
};

// Up to 8 output pixels of one row that see the same taps. Pointers are at channel 0.
struct Patch {
  const float* input;    // first pixel, first tap inside the image
  const float* weights;  // panels
  int64_t taps_y;
  int64_t taps_x;
  int64_t input_row;      // from tap to tap, downwards
  int64_t input_column;   // from tap to tap, to the right
  int64_t weights_row;    // from tap to tap, downwards
  int64_t weights_panel;  // from 16 channels to the next
  int64_t pixel_step;     // from pixel to pixel
  const float* bias;      // or null
  const float* residual;  // or null
  int64_t residual_pitch;
  float* output;
  int64_t output_pitch;
  float low;
  float high;
  bool hard_swish;  // after the bounds, as hard_swish(y) * scale + shift
  float scale;
  float shift;
};

// kWhole: all lanes are channels; otherwise kVecs is 1 and the first `lanes` are.
template <bool kWhole>
HUSSAR_INLINE Vec load_channels(const float* p, int lanes) {
  if constexpr (kWhole) return load(p);
  return load_n(p, lanes);
}

// One kernel row, any number of taps.
template <int kPixels, bool kWhole>
HUSSAR_INLINE void step(const Patch& patch, const float* input, const float* weights, int lanes, Vec (&sum)[kPixels]) {
  for (int64_t kx = 0; kx < patch.taps_x; ++kx) {
    const Vec weight = load(weights + kx * kPanelColumns);
#pragma GCC unroll 8
    for (int x = 0; x < kPixels; ++x) {
      sum[x] = fma(load_channels<kWhole>(input + x * patch.pixel_step, lanes), weight, sum[x]);
    }
    input += patch.input_column;
  }
}

// One kernel row of kTaps taps, pixels kStride taps apart: every input is loaded once and serves all pixels whose
// window holds it.
template <int kPixels, bool kWhole, int kTaps, int kStride>
HUSSAR_INLINE void slide(const Patch& patch, const float* input, const float* weights, int lanes, Vec (&sum)[kPixels]) {
  Vec weight[kTaps];
#pragma GCC unroll 8
  for (int kx = 0; kx < kTaps; ++kx) weight[kx] = load(weights + kx * kPanelColumns);
#pragma GCC unroll 32
  for (int i = 0; i < (kPixels - 1) * kStride + kTaps; ++i) {
    const Vec value = load_channels<kWhole>(input, lanes);
    input += patch.input_column;
#pragma GCC unroll 8
    for (int x = 0; x < kPixels; ++x) {
      const int kx = i - x * kStride;
      if (kx >= 0 && kx < kTaps) sum[x] = fma(value, weight[kx], sum[x]);
    }
  }
}

// kTaps > 0: the window is exactly kTaps wide and the pixels are kStride of its taps apart.
template <int kPixels, int kVecs, bool kWhole, int kTaps, int kStride>
HUSSAR_INLINE void run_vectors(const Patch& patch, int64_t channel, int lanes) {
  Vec sum[kPixels][kVecs];
#pragma GCC unroll 8
  for (int v = 0; v < kVecs; ++v) {
    const Vec bias =
        patch.bias != nullptr ? load_channels<kWhole>(patch.bias + channel + v * kLanes, lanes) : set(0.0f);
#pragma GCC unroll 8
    for (int x = 0; x < kPixels; ++x) sum[x][v] = bias;
  }
  for (int64_t ky = 0; ky < patch.taps_y; ++ky) {
    const float* input = patch.input + ky * patch.input_row;
    const float* weights = patch.weights + ky * patch.weights_row;
#pragma GCC unroll 8
    for (int v = 0; v < kVecs; ++v) {
      const int64_t at = channel + v * kLanes;
      const float* panel = weights + at / kPanelColumns * patch.weights_panel + at % kPanelColumns;
      Vec of_vector[kPixels];
#pragma GCC unroll 8
      for (int x = 0; x < kPixels; ++x) of_vector[x] = sum[x][v];
      if constexpr (kTaps > 0) {
        slide<kPixels, kWhole, kTaps, kStride>(patch, input + at, panel, lanes, of_vector);
      } else {
        step<kPixels, kWhole>(patch, input + at, panel, lanes, of_vector);
      }
#pragma GCC unroll 8
      for (int x = 0; x < kPixels; ++x) sum[x][v] = of_vector[x];
    }
  }
  const Vec low = set(patch.low), high = set(patch.high);
#pragma GCC unroll 8
  for (int x = 0; x < kPixels; ++x) {
#pragma GCC unroll 8
    for (int v = 0; v < kVecs; ++v) {
      const int64_t at = channel + v * kLanes;
      Vec y = sum[x][v];
      if (patch.residual != nullptr) {
        y = y + load_channels<kWhole>(patch.residual + x * patch.residual_pitch + at, lanes);
      }
      y = clamp(y, low, high);
      if (patch.hard_swish) y = hard_swish(y, set(patch.scale), set(patch.shift));
      float* out = patch.output + x * patch.output_pitch + at;
      if constexpr (kWhole) {
        store(out, y);
      } else {
        store_n(out, y, lanes);
      }
    }
  }
}

template <int kPixels, int kTaps, int kStride>
void run_channels(const Patch& patch, int64_t channels) {
  constexpr int kVecs = kSums / kPixels;
  int64_t channel = 0;
  for (; channel + kVecs * kLanes <= channels; channel += kVecs * kLanes) {
    run_vectors<kPixels, kVecs, true, kTaps, kStride>(patch, channel, kLanes);
  }
  if constexpr (kVecs > 1) {
    for (; channel + kLanes <= channels; channel += kLanes) {
      run_vectors<kPixels, 1, true, kTaps, kStride>(patch, channel, kLanes);
    }
  }
  if (channel < channels) {
    run_vectors<kPixels, 1, false, kTaps, kStride>(patch, channel, static_cast<int>(channels - channel));
  }
}

template <int kTaps, int kStride>
void run_patch_of(const Patch& patch, int pixels, int64_t channels) {
  switch (pixels) {
    case 8: return run_channels<8, kTaps, kStride>(patch, channels);
    case 4: return run_channels<4, kTaps, kStride>(patch, channels);
    case 2: return run_channels<2, kTaps, kStride>(patch, channels);
    default: return run_channels<1, 0, 0>(patch, channels);
  }
}

void run_patch(const Patch& patch, int pixels, int64_t channels) {
  const bool stride1 = patch.pixel_step == patch.input_column, stride2 = patch.pixel_step == 2 * patch.input_column;
  if (patch.taps_x == 3 && stride1) return run_patch_of<3, 1>(patch, pixels, channels);
  if (patch.taps_x == 3 && stride2) return run_patch_of<3, 2>(patch, pixels, channels);
  if (patch.taps_x == 5 && stride1) return run_patch_of<5, 1>(patch, pixels, channels);
  if (patch.taps_x == 5 && stride2) return run_patch_of<5, 2>(patch, pixels, channels);
  return run_patch_of<0, 0>(patch, pixels, channels);
}

// A part of one output row: the channels [first, first + channels).
struct Row {
  const DepthwiseArgs* args;
  int64_t row;  // image * out height + y
  int64_t first;
  int64_t channels;
};

// pixels: 1, 2, 4 or 8 from x on, with the same taps_x.
void run_pixels(const Row& row, int64_t x, int pixels, Taps taps_x, Taps taps_y) {
  const DepthwiseArgs& args = *row.args;
  const Epilogue& epilogue = args.epilogue;
  const int64_t image = row.row / args.out[0], y = row.row % args.out[0];
  const int64_t in_y = y * args.stride[0] - args.pad[0] + taps_y.low * args.dilation[0];
  const int64_t in_x = x * args.stride[1] - args.pad[1] + taps_x.low * args.dilation[1];
  const bool empty = taps_x.low >= taps_x.high || taps_y.low >= taps_y.high;
  const int64_t in_pixel = empty ? 0 : (image * args.in[0] + in_y) * args.in[1] + in_x;
  const int64_t out_pixel = row.row * args.out[1] + x;
  Patch patch;
  patch.input = args.input + in_pixel * args.input_pitch + row.first;
  patch.weights_panel = args.kernel[0] * args.kernel[1] * kPanelColumns;
  patch.weights = args.weights + row.first / kPanelColumns * patch.weights_panel;
  if (!empty) patch.weights += (taps_y.low * args.kernel[1] + taps_x.low) * kPanelColumns;
  patch.taps_y = empty ? 0 : taps_y.high - taps_y.low;
  patch.taps_x = taps_x.high - taps_x.low;
  patch.input_row = args.dilation[0] * args.in[1] * args.input_pitch;
  patch.input_column = args.dilation[1] * args.input_pitch;
  patch.weights_row = args.kernel[1] * kPanelColumns;
  patch.pixel_step = args.stride[1] * args.input_pitch;
  patch.bias = epilogue.bias != nullptr ? epilogue.bias + row.first : nullptr;
  patch.residual_pitch = epilogue.residual_pitch;
  patch.residual =
      epilogue.residual != nullptr ? epilogue.residual + out_pixel * epilogue.residual_pitch + row.first : nullptr;
  patch.output = args.output + out_pixel * args.output_pitch + row.first;
  patch.output_pitch = args.output_pitch;
  patch.low = epilogue.low;
  patch.high = epilogue.high;
  patch.hard_swish = epilogue.hard_swish;
  patch.scale = epilogue.scale;
  patch.shift = epilogue.shift;
  if (epilogue.program == nullptr) return run_patch(patch, pixels, row.channels);
  alignas(64) float buffer[kSums * kBufferChannels];
  for (int64_t channel = 0; channel < row.channels; channel += kBufferChannels) {
    const int64_t left = row.channels - channel;
    const int64_t channels = left < kBufferChannels ? left : kBufferChannels;
    Patch part = patch;
    part.input += channel;
    part.weights += channel / kPanelColumns * patch.weights_panel;
    if (part.bias != nullptr) part.bias += channel;
    if (part.residual != nullptr) part.residual += channel;
    part.output = buffer;
    part.output_pitch = kBufferChannels;
    run_patch(part, pixels, channels);
    program_table.run(*epilogue.program, epilogue.operands,
                      {buffer, patch.output + channel, kBufferChannels, args.output_pitch, out_pixel,
                       row.first + channel, pixels, channels});
  }
}

// The columns [begin, end) of a row.
void run_columns(const Row& row, int64_t begin, int64_t end) {
  const DepthwiseArgs& args = *row.args;
  const int64_t in_y = row.row % args.out[0] * args.stride[0] - args.pad[0];
  const Taps taps_y = taps_inside(in_y, args.in[0], args.kernel[0], args.dilation[0]);
  for (int64_t x = begin; x < end;) {
    const int64_t in_x = x * args.stride[1] - args.pad[1];
    const Taps taps_x = taps_inside(in_x, args.in[1], args.kernel[1], args.dilation[1]);
    int pixels = 1;
    if (taps_x.low == 0 && taps_x.high == args.kernel[1]) {
      const int64_t reach = (args.kernel[1] - 1) * args.dilation[1];
      while (pixels < kSums && x + 2 * pixels <= end && in_x + (2 * pixels - 1) * args.stride[1] + reach < args.in[1]) {
        pixels *= 2;
      }
    }
    run_pixels(row, x, pixels, taps_x, taps_y);
    x += pixels;
  }
}

// The output positions [begin, end) of one axis whose windows lie inside the input.
Range inside_of(const DepthwiseArgs& args, int axis) {
  const int64_t reach = (args.kernel[axis] - 1) * args.dilation[axis], stride = args.stride[axis];
  const int64_t begin = args.pad[axis] > 0 ? (args.pad[axis] + stride - 1) / stride : 0;
  const int64_t room = args.in[axis] - 1 - reach + args.pad[axis];
  const int64_t end = room < 0 ? 0 : room / stride + 1;
  const int64_t last = end < args.out[axis] ? end : args.out[axis];
  return {begin < last ? begin : last, last};
}

// Some channels of the output pixels rows x columns of one image, whose windows lie inside.
void run_interior(const DepthwiseArgs& args, InteriorFunction function, const Row& first, int64_t rows, Range columns) {
  const Epilogue& epilogue = args.epilogue;
  const int64_t image = first.row / args.out[0], y = first.row % args.out[0];
  const int64_t in_y = y * args.stride[0] - args.pad[0], in_x = columns.begin * args.stride[1] - args.pad[1];
  const int64_t out_pixel = first.row * args.out[1] + columns.begin;
  InteriorBlock block;
  block.input_column = args.input_pitch;
  block.input_row = args.in[1] * args.input_pitch;
  block.input = args.input + ((image * args.in[0] + in_y) * args.in[1] + in_x) * args.input_pitch + first.first;
  block.stride_y = args.stride[0];
  block.weights_panel = args.kernel[0] * args.kernel[1] * kPanelColumns;
  block.weights = args.weights + first.first / kPanelColumns * block.weights_panel;
  block.bias = epilogue.bias != nullptr ? epilogue.bias + first.first : nullptr;
  block.low = epilogue.low;
  block.high = epilogue.high;
  block.hard_swish = epilogue.hard_swish;
  block.scale = epilogue.scale;
  block.shift = epilogue.shift;
  block.output_column = args.output_pitch;
  block.output_row = args.out[1] * args.output_pitch;
  block.output = args.output + out_pixel * args.output_pitch + first.first;
  block.rows = rows;
  block.columns = columns.end - columns.begin;
  block.channels = first.channels;
  function(block);
  if (epilogue.program == nullptr) return;
  for (int64_t row = 0; row < rows; ++row) {
    float* line = block.output + row * block.output_row;
    program_table.run(*epilogue.program, epilogue.operands,
                      {line, line, args.output_pitch, args.output_pitch, out_pixel + row * args.out[1], first.first,
                       block.columns, first.channels});
  }
}

// Rows [begin, end) of batch * out height, some channels.
void run_rows(const DepthwiseArgs& args, Range rows, int64_t first, int64_t channels) {
  const bool dense = args.dilation[0] == 1 && args.dilation[1] == 1 && args.epilogue.residual == nullptr;
  const InteriorFunction function = dense ? interior_function(args.kernel[0], args.kernel[1], args.stride[1]) : nullptr;
  const Range inside_y = inside_of(args, 0), inside_x = inside_of(args, 1);
  const int64_t row_floats = args.in[1] * channels * args.stride[0];
  const int64_t fit = (args.epilogue.program != nullptr ? kProgramBlock : kInteriorBlock) / (row_floats + 1);
  for (int64_t row = rows.begin; row < rows.end;) {
    const int64_t y = row % args.out[0];
    if (function == nullptr || y < inside_y.begin || y >= inside_y.end || inside_x.begin >= inside_x.end) {
      run_columns({&args, row, first, channels}, 0, args.out[1]);
      ++row;
      continue;
    }
    int64_t count = inside_y.end - y < rows.end - row ? inside_y.end - y : rows.end - row;
    if (count > fit) count = fit < 1 ? 1 : fit;
    run_interior(args, function, {&args, row, first, channels}, count, inside_x);
    for (int64_t i = row; i < row + count; ++i) {
      run_columns({&args, i, first, channels}, 0, inside_x.begin);
      run_columns({&args, i, first, channels}, inside_x.end, args.out[1]);
    }
    row += count;
  }
}

// Cuts rows x blocks of 16 channels into at most share.count rectangles so that the largest is smallest.
void run_conv(const DepthwiseArgs& args, Share share) {
  const int64_t rows = args.batch * args.out[0], blocks = (args.channels + 15) / 16;
  int64_t best = INT64_MAX, row_parts = 1, block_parts = 1;
  for (int64_t r = 1; r <= share.count && r <= rows; ++r) {
    if (args.along == CutAlong::kPanels && r > 1) break;
    const int64_t room = args.along == CutAlong::kRows ? 1 : share.count / r, b = room < blocks ? room : blocks;
    const int64_t cost = ((rows + r - 1) / r) * ((blocks + b - 1) / b);
    if (cost <= best) {
      best = cost;
      row_parts = r;
      block_parts = b;
    }
  }
  if (share.index >= row_parts * block_parts) return;
  const int64_t row_part = share.index / block_parts, block_part = share.index % block_parts;
  const int64_t first = blocks * block_part / block_parts * 16;
  const int64_t end = blocks * (block_part + 1) / block_parts * 16;
  const Range mine = {rows * row_part / row_parts, rows * (row_part + 1) / row_parts};
  run_rows(args, mine, first, (end < args.channels ? end : args.channels) - first);
}

}  // namespace

extern const DepthwiseTable depthwise_table = {run_conv};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
