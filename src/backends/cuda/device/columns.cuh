// The windows of a convolution as rows of a matrix, for channels that are no multiple of 16 bytes: row r of `columns` is
// what output pixel r sees, tap by tap, and zeros up to COLUMNS elements.
//
// Defined before: COLUMNS, a multiple of 8; CONV_TAPS; what convolution_rows.cuh wants.
#pragma once

extern "C" __global__ void __launch_bounds__(256)
    make_columns(const ProductInput* x, ProductInput* columns, int rows, const __grid_constant__ Windows windows) {
  begin_kernel();
  constexpr int kParts = COLUMNS / 8;
  const int unit = static_cast<int>(blockIdx.x) * 256 + static_cast<int>(threadIdx.x);
  const int row = unit / kParts, first = unit % kParts * 8;
  if (row >= rows) return;
  const WindowRows<1> window = make_window_rows<1>(x, windows, row, 0, rows);
  struct alignas(16) {
    ProductInput values[8];
  } part;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const bool inside = first + i < CONV_TAPS * CONV_CHANNELS;
    const ProductInput* from = inside ? window_chunk(window, windows, 0, first + i) : nullptr;
    part.values[i] = from != nullptr ? *from : ProductInput{};
  }
  *reinterpret_cast<decltype(part)*>(columns + static_cast<long long>(row) * COLUMNS + first) = part;
}
