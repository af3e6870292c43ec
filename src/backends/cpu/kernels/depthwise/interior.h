// Depthwise convolution where every window lies inside the image: 3x3 and 5x5 kernels without dilation, of horizontal
// stride 1 or 2. Internal to kernels/depthwise, for *.simd.cpp files only.
//
// One vector of channels at a time passes over all rows of the block, so that the rows which the windows of two output
// rows share are read from the L1 cache, and the taps of a 3x3 kernel stay in registers where there are enough of them.
// Every input vector is loaded once per kernel row and patch and serves all pixels whose window holds it.
#pragma once
#include "backends/cpu/panels.h"
#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// rows x columns output pixels. Pointers are at the first channel; input at the first tap of the first pixel.
struct InteriorBlock {
  const float* input;
  int64_t input_row;     // from input row to input row
  int64_t input_column;  // from pixel to pixel
  int64_t stride_y;
  const float* weights;   // panels
  int64_t weights_panel;  // from 16 channels to the next
  const float* bias;      // or null
  float low;
  float high;
  bool hard_swish;  // after the bounds, as hard_swish(y) * scale + shift
  float scale;
  float shift;
  float* output;
  int64_t output_row;
  int64_t output_column;
  int64_t rows;
  int64_t columns;
  int64_t channels;
};

// Beside the sums of a patch all taps of a 3x3 kernel stay in 32 vector registers; 16 hold those of one kernel row.
constexpr bool holds_taps(int taps) { return taps == 3 && kLanes == 16; }

template <int kTaps, int kStride>
struct InteriorLine {
  const InteriorBlock& block;
  Vec bias, low, high;
  const float* panel;

  HUSSAR_INLINE Vec finish(Vec y) const {
    y = clamp(y, low, high);
    return block.hard_swish ? hard_swish(y, set(block.scale), set(block.shift)) : y;
  }

  // kPixels pixels; in: their first tap.
  template <int kPixels>
  HUSSAR_INLINE void patch(const Vec (&taps)[9], const float* in, float* out, int lanes) const {
    Vec sum[kPixels];
#pragma GCC unroll 8
    for (int x = 0; x < kPixels; ++x) sum[x] = bias;
#pragma GCC unroll 5
    for (int ky = 0; ky < kTaps; ++ky) {
      Vec weight[kTaps];
      const float* weights = panel + ky * kTaps * kPanelColumns;
      // Or else the compiler loads all taps before the loop over the rows and keeps them on the stack, from where every
      // multiply-add reads its own. For 25 taps that is the better way.
      if constexpr (kTaps == 3 && !holds_taps(kTaps)) asm("" : "+r"(weights));
#pragma GCC unroll 8
      for (int kx = 0; kx < kTaps; ++kx) {
        weight[kx] = holds_taps(kTaps) ? taps[ky * 3 + kx] : load(weights + kx * kPanelColumns);
      }
      const float* row = in + ky * block.input_row;
#pragma GCC unroll 32
      for (int i = 0; i < (kPixels - 1) * kStride + kTaps; ++i) {
        const Vec value = load_up_to(row, lanes);
        row += block.input_column;
#pragma GCC unroll 8
        for (int x = 0; x < kPixels; ++x) {
          const int kx = i - x * kStride;
          if (kx >= 0 && kx < kTaps) sum[x] = fma(value, weight[kx], sum[x]);
        }
      }
    }
#pragma GCC unroll 8
    for (int x = 0; x < kPixels; ++x) {
      store_up_to(out, finish(sum[x]), lanes);
      out += block.output_column;
    }
  }

  // One vector of channels over the whole block. lanes: kLanes, or fewer at the end of the channels.
  HUSSAR_INLINE void run(int64_t channel, int lanes) const {
    Vec taps[9];
    if constexpr (holds_taps(kTaps)) {
#pragma GCC unroll 9
      for (int i = 0; i < 9; ++i) taps[i] = load(panel + i * kPanelColumns);
    }
    const int64_t step = kStride * block.input_column;
    const int whole = block.columns % 8 != 0 && block.columns % 7 == 0 ? 7 : 8;
    for (int64_t y = 0; y < block.rows; ++y) {
      const float* in = block.input + y * block.stride_y * block.input_row + channel;
      float* out = block.output + y * block.output_row + channel;
      int64_t left = block.columns;
      for (; left >= whole; left -= whole, in += whole * step, out += whole * block.output_column) {
        if (whole == 8) {
          patch<8>(taps, in, out, lanes);
        } else {
          patch<7>(taps, in, out, lanes);
        }
      }
      if (left >= 4) {
        patch<4>(taps, in, out, lanes);
        left -= 4, in += 4 * step, out += 4 * block.output_column;
      }
      if (left >= 2) {
        patch<2>(taps, in, out, lanes);
        left -= 2, in += 2 * step, out += 2 * block.output_column;
      }
      if (left > 0) patch<1>(taps, in, out, lanes);
    }
  }
};

template <int kTaps, int kStride>
void run_interior_of(const InteriorBlock& block) {
  InteriorLine<kTaps, kStride> line = {block, set(0.0f), set(block.low), set(block.high), nullptr};
  for (int64_t channel = 0; channel < block.channels; channel += kLanes) {
    const int lanes = static_cast<int>(block.channels - channel < kLanes ? block.channels - channel : kLanes);
    line.panel = block.weights + channel / kPanelColumns * block.weights_panel + channel % kPanelColumns;
    if (block.bias != nullptr) line.bias = load_up_to(block.bias + channel, lanes);
    if (lanes == kLanes) {
      line.run(channel, kLanes);
    } else {
      line.run(channel, lanes);
    }
  }
}

using InteriorFunction = void (*)(const InteriorBlock& block);

// Null: no such kernel.
inline InteriorFunction interior_function(int64_t taps_y, int64_t taps_x, int64_t stride_x) {
  if (taps_y == 3 && taps_x == 3 && stride_x == 1) return run_interior_of<3, 1>;
  if (taps_y == 3 && taps_x == 3 && stride_x == 2) return run_interior_of<3, 2>;
  if (taps_y == 5 && taps_x == 5 && stride_x == 1) return run_interior_of<5, 1>;
  if (taps_y == 5 && taps_x == 5 && stride_x == 2) return run_interior_of<5, 2>;
  return nullptr;
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
