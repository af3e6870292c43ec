// Convolutions of each channel by itself, channels-last: a thread has VECTOR neighbouring channels of OUTPUTS neighbouring
// pixels of a row, and reads every pixel of their windows once.
//
// Defined before: X_TYPE, W_TYPE, Y_TYPE; VECTOR; OUTPUTS; KERNEL_1, KERNEL_2 (down, across); STRIDE_2 and DILATION_2
// (across; OUTPUTS is 1 where DILATION_2 is not); X_ZERO_POINT, what stands for 0 in X; the epilogue. Weights lie as
// [tap][channel]. Sums of bytes are exact: fewer than 2^24.
#pragma once

// On the host: 6 x 8 bytes, then 10 x 4 bytes.
struct Depthwise {
  const X_TYPE* x;
  const W_TYPE* w;
  Y_TYPE* y;
  long long units, x_pitch, y_pitch;
  int channels;  // of VECTOR each
  int height, width, rows, columns;
  int row_stride, row_pad, column_pad, row_dilation;
  int groups;  // of OUTPUTS pixels in a row
};

extern "C" __global__ void __launch_bounds__(256)
    depthwise(const __grid_constant__ Depthwise work, const __grid_constant__ EpilogueOperands fused) {
  begin_kernel();
  const long long unit = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
  if (unit >= work.units) return;
  const int channel = static_cast<int>(unit % work.channels) * VECTOR;
  const int place = static_cast<int>(unit / work.channels);
  const int column = place % work.groups * OUTPUTS, line = place / work.groups;
  const int row = line % work.rows, picture = line / work.rows;
  constexpr int kSpan = (OUTPUTS - 1) * STRIDE_2 + (KERNEL_2 - 1) * DILATION_2 + 1;
  const int top = row * work.row_stride - work.row_pad, left = column * STRIDE_2 - work.column_pad;
  float sums[OUTPUTS][VECTOR] = {};
#pragma unroll
  for (int tap_row = 0; tap_row < KERNEL_1; ++tap_row) {
    const int at = top + tap_row * work.row_dilation;
    if (at < 0 || at >= work.height) continue;
    float weights[KERNEL_2][VECTOR];
#pragma unroll
    for (int tap = 0; tap < KERNEL_2; ++tap)
      load(work.w + (tap_row * KERNEL_2 + tap) * work.channels * VECTOR + channel, weights[tap]);
    const X_TYPE* const from = work.x + (static_cast<long long>(picture) * work.height + at) * work.width * work.x_pitch;
#pragma unroll
    for (int j = 0; j < kSpan; j += DILATION_2) {
      const int x_place = left + j;
      if (x_place < 0 || x_place >= work.width) continue;
      float x[VECTOR];
      load(from + x_place * work.x_pitch + channel, x);
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) x[i] -= X_ZERO_POINT;
#pragma unroll
      for (int o = 0; o < OUTPUTS; ++o) {
        const int tap = (j - o * STRIDE_2) / DILATION_2;
        if (j < o * STRIDE_2 || tap >= KERNEL_2) continue;
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) sums[o][i] = fmaf(x[i], weights[tap][i], sums[o][i]);
      }
    }
  }
  SumMeaning<VECTOR> meaning;
  load_meaning(meaning, fused, channel);
#pragma unroll
  for (int o = 0; o < OUTPUTS; ++o) {
    if (column + o >= work.columns) break;
    const long long pixel = (static_cast<long long>(picture) * work.rows + row) * work.columns + column + o;
    float value[VECTOR];
    real_sums(sums[o], value, meaning, row_meaning(fused, pixel));
    EpilogueInputs<VECTOR> inputs;
    load_inputs(inputs, fused, pixel, channel, 0);
    epilogue_of(value, inputs, fused);
    store_finished(work.y + pixel * work.y_pitch + channel, value, fused);
  }
}
