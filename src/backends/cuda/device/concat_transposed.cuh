// Channels-last parts side by side in plain data: tiles of 32 x 32 go through shared memory, so that both sides are
// read and written in a row. One launch takes the tiles of all parts.
//
// Defined before: WORD, PARTS.
#pragma once

struct Part {
  long long end;  // of its tiles among those of all parts
  long long channels, positions, channel_tiles, position_tiles;
  long long input_image, input_position;  // elements from one to the next
  long long place;                        // where it begins in the output
  const WORD* input;
};

struct ConcatTransposed {
  long long tiles, output_image, output_channel;
  WORD* output;
  Part parts[PARTS];
};

extern "C" __global__ void __launch_bounds__(256) concat_transposed(const __grid_constant__ ConcatTransposed work) {
  begin_kernel();
  __shared__ WORD tile[32][33];
  const int x = threadIdx.x % 32, y = threadIdx.x / 32;
  for (long long index = blockIdx.x; index < work.tiles; index += gridDim.x) {
    int which = 0;
    long long rest = index;
#pragma unroll
    for (int i = 0; i + 1 < PARTS; ++i) {
      if (index >= work.parts[i].end) {
        which = i + 1;
        rest = index - work.parts[i].end;
      }
    }
    const Part& part = work.parts[which];
    const long long channel = rest % part.channel_tiles * 32;
    rest /= part.channel_tiles;
    const long long position = rest % part.position_tiles * 32;
    const long long image = rest / part.position_tiles;
    const WORD* const input = part.input + image * part.input_image + channel;
    WORD* const output = work.output + part.place + image * work.output_image + position;
#pragma unroll
    for (int i = y; i < 32; i += 8) {
      if (channel + x < part.channels && position + i < part.positions)
        tile[i][x] = input[(position + i) * part.input_position + x];
    }
    __syncthreads();
#pragma unroll
    for (int i = y; i < 32; i += 8) {
      if (channel + i < part.channels && position + x < part.positions)
        output[(channel + i) * work.output_channel + x] = tile[x][i];
    }
    __syncthreads();
  }
}
