// Softmax and LogSoftmax along an axis whose elements lie apart: one thread for each place of the axes inside.
//
// Defined before: INPUT_TYPE, OUTPUT_TYPE; LOGARITHM, 1 for LogSoftmax.
#pragma once

struct SoftmaxColumns {
  long long columns, length, inner;
  const INPUT_TYPE* input;
  OUTPUT_TYPE* output;
};

extern "C" __global__ void __launch_bounds__(256) softmax_columns(const __grid_constant__ SoftmaxColumns work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long column = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; column < work.columns; column += step) {
    const long long first = column / work.inner * work.length * work.inner + column % work.inner;
    const INPUT_TYPE* x = work.input + first;
    OUTPUT_TYPE* y = work.output + first;
    float largest = __uint_as_float(0xff800000U), sum = 0.0f;
    for (long long i = 0; i < work.length; ++i) largest = fmaxf(largest, to_float(x[i * work.inner]));
    for (long long i = 0; i < work.length; ++i) sum += expf(to_float(x[i * work.inner]) - largest);
    const float factor = LOGARITHM ? largest + logf(sum) : 1.0f / sum;
    for (long long i = 0; i < work.length; ++i) {
      const float value = to_float(x[i * work.inner]);
      y[i * work.inner] = from_float<OUTPUT_TYPE>(LOGARITHM ? value - factor : expf(value - largest) * factor);
    }
  }
}
