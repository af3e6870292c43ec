// hussar.QuantizeRows: bytes and one scale for each row.
//
// Defined before: INPUT_TYPE; ROW_LEAST and ROW_MOST, bits of the magnitudes between which a row has a scale.
#pragma once

struct QuantizeRows {
  long long rows, length;
  const INPUT_TYPE* input;
  signed char* bytes;
  float* scales;
  const int* needed;  // so many rows; null: all
};

// Four blocks of a multiprocessor are enough: to have room for eight the compiler would spill.
extern "C" __global__ void __launch_bounds__(256, 4) quantize_rows(const __grid_constant__ QuantizeRows work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * kRowsOfBlock;
  const long long rows = units_of_rows(work.rows, work.needed, 1);
  for (long long r = static_cast<long long>(blockIdx.x) * kRowsOfBlock + threadIdx.x / GROUP; r < rows; r += step) {
    Row<INPUT_TYPE> row{work.input + r * work.length, work.length};
    unsigned largest = 0;
    row.visit_first([&](long long, const float(&x)[VECTOR]) {
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) largest = larger_magnitude(largest, x[i]);
    });
    const RowScale scale = row_scale(largest);
    if (threadIdx.x % GROUP == 0) work.scales[r] = scale.scale;
    row.visit_again(
        [&](long long at, const float(&x)[VECTOR]) { store_row_bytes(work.bytes + r * work.length + at, x, scale); });
  }
}
