// Rows of X that are windows of pictures, for device/product_ampere.cuh: element i of a row is channel i % CONV_CHANNELS
// of tap i / CONV_CHANNELS. Channels are a multiple of a 16-byte chunk, so a chunk is of one tap.
//
// Defined before: CONV_CHANNELS, CONV_KERNEL_1, CONV_KERNEL_2 (taps of the two inner dimensions).
#pragma once

struct Windows {
  long long pitch;  // elements from pixel to pixel
  int input[3], output[3], strides[3], pads[3], dilations[3];
};

// One thread's rows: row, row + kRowsPerPass, ...
template <int kPasses>
struct WindowRows {
  const ProductInput* picture[kPasses];  // null behind the last row
  int place[kPasses][3];                 // of the first tap
};

template <int kPasses>
__device__ __forceinline__ WindowRows<kPasses> make_window_rows(const ProductInput* x, const Windows& windows,
                                                                int first_row, int step, int rows) {
  WindowRows<kPasses> result;
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int row = first_row + pass * step;
    int rest = row;
#pragma unroll
    for (int axis = 2; axis >= 0; --axis) {
      result.place[pass][axis] = rest % windows.output[axis] * windows.strides[axis] - windows.pads[axis];
      rest /= windows.output[axis];
    }
    const long long pixels = static_cast<long long>(windows.input[0]) * windows.input[1] * windows.input[2];
    result.picture[pass] = row < rows ? x + rest * pixels * windows.pitch : nullptr;
  }
  return result;
}

// The chunk at element i of the row of a pass; null: zeros.
template <int kPasses>
__device__ __forceinline__ const ProductInput* window_chunk(const WindowRows<kPasses>& rows, const Windows& windows,
                                                            int pass, int i) {
  const int tap = i / CONV_CHANNELS, channel = i % CONV_CHANNELS;
  const int taps[3] = {tap / (CONV_KERNEL_1 * CONV_KERNEL_2), tap / CONV_KERNEL_2 % CONV_KERNEL_1,
                       tap % CONV_KERNEL_2};
  long long pixel = 0;
  bool inside = rows.picture[pass] != nullptr;
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) {
    const int place = rows.place[pass][axis] + taps[axis] * windows.dilations[axis];
    inside = inside && place >= 0 && place < windows.input[axis];
    pixel = pixel * windows.input[axis] + place;
  }
  return inside ? rows.picture[pass] + pixel * windows.pitch + channel : nullptr;
}
