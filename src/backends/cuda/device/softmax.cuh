// Softmax and LogSoftmax of rows.
//
// Defined before: INPUT_TYPE, OUTPUT_TYPE; LOGARITHM, 1 for LogSoftmax.
#pragma once

struct Softmax {
  long long rows, length;
  long long input_pitch, output_pitch;  // elements from row to row
  const INPUT_TYPE* input;
  OUTPUT_TYPE* output;
};

extern "C" __global__ void __launch_bounds__(256) softmax(const __grid_constant__ Softmax work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * kRowsOfBlock;
  for (long long r = static_cast<long long>(blockIdx.x) * kRowsOfBlock + threadIdx.x / GROUP; r < work.rows; r += step) {
    Row<INPUT_TYPE> row{work.input + r * work.input_pitch, work.length};
    float largest = __uint_as_float(0xff800000U), sum = 0.0f;
    row.visit_first([&](long long, const float (&x)[VECTOR]) {
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) largest = fmaxf(largest, x[i]);
    });
    largest = row_max(largest);
    row.visit_again([&](long long, const float (&x)[VECTOR]) {
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) sum += expf(x[i] - largest);
    });
    sum = row_sum(sum);
    const float factor = LOGARITHM ? largest + logf(sum) : 1.0f / sum;
    OUTPUT_TYPE* output = work.output + r * work.output_pitch;
    row.visit_again([&](long long at, const float (&x)[VECTOR]) {
      float y[VECTOR];
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) y[i] = LOGARITHM ? x[i] - factor : expf(x[i] - largest) * factor;
      store<VECTOR>(output + at, y);
    });
  }
}
