// Pictures of few channels in blocks of LINE_STRIDE x LINE_STRIDE pixels, padded: block (r, c) holds the pixels from
// (r * LINE_STRIDE - row_pad, c * LINE_STRIDE - column_pad) on, row by row, the channels of each, and zeros up to
// LINE_BLOCK elements. A window of a convolution with these strides is then a few lines of neighbouring blocks.
//
// Defined before: LINE_CHANNELS; LINE_TYPE, what is written, half, bfloat or float; LINE_PICTURE, what is read;
// LINE_STRIDE; LINE_BLOCK, a multiple of 16 bytes.
#pragma once

// On the host: 5 x 8 bytes, then 6 x 4 bytes.
struct Lines {
  long long blocks;
  long long picture, channel, row, column;  // elements from one to the next
  int height, width, block_rows, block_columns, row_pad, column_pad;
};

extern "C" __global__ void __launch_bounds__(256)
    make_lines(const LINE_PICTURE* x, LINE_TYPE* to, const __grid_constant__ Lines lines) {
  begin_kernel();
  const long long block = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
  if (block >= lines.blocks) return;
  const int line = static_cast<int>(block / lines.block_columns);
  const int column = static_cast<int>(block - static_cast<long long>(line) * lines.block_columns);
  const int picture = line / lines.block_rows;
  const int top = (line - picture * lines.block_rows) * LINE_STRIDE - lines.row_pad;
  const int left = column * LINE_STRIDE - lines.column_pad;
  const LINE_PICTURE* const from = x + picture * lines.picture;
  struct alignas(16) {
    LINE_TYPE values[LINE_BLOCK];
  } part;
#pragma unroll
  for (int i = 0; i < LINE_BLOCK; ++i) {
    const int pixel = i / LINE_CHANNELS;
    const int row = top + pixel / LINE_STRIDE, place = left + pixel % LINE_STRIDE;
    const bool inside =
        pixel < LINE_STRIDE * LINE_STRIDE && row >= 0 && row < lines.height && place >= 0 && place < lines.width;
    part.values[i] = LINE_TYPE{0};
    if (inside)
      part.values[i] = write<LINE_TYPE>(
          read<float>(from[row * lines.row + place * lines.column + i % LINE_CHANNELS * lines.channel]));
  }
  *reinterpret_cast<decltype(part)*>(to + block * LINE_BLOCK) = part;
}
