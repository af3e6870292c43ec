// Rows of unsigned bytes less 128, as signed bytes without gaps, for libraries that multiply no others: the upper bit of
// every byte is turned.
#pragma once

struct FlipBytes {
  long long rows, packs, pitch;  // packs of 16 bytes of a row, and from row to row
  const Pack<4, unsigned>* from;
  Pack<4, unsigned>* to;
};

extern "C" __global__ void __launch_bounds__(256) flip_bytes(const __grid_constant__ FlipBytes work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < work.rows * work.packs;
       i += step) {
    const long long row = i / work.packs;
    Pack<4, unsigned> pack = work.from[row * work.pitch + i - row * work.packs];
#pragma unroll
    for (int k = 0; k < 4; ++k) pack.values[k] ^= 0x80808080U;
    work.to[i] = pack;
  }
}
