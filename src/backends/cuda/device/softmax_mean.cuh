// The mean of weights by the softmax along an axis: one thread for each place of the other axes, which reads its elements
// once. What was summed is scaled again where a larger element comes.
//
// Defined before: INPUT_TYPE, OUTPUT_TYPE, WEIGHT_TYPE.
#pragma once

struct SoftmaxMean {
  long long places, length, inner;
  const INPUT_TYPE* input;
  const WEIGHT_TYPE* weights;
  OUTPUT_TYPE* output;
};

extern "C" __global__ void __launch_bounds__(128) softmax_mean(const __grid_constant__ SoftmaxMean work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long place = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; place < work.places; place += step) {
    const INPUT_TYPE* x = work.input + place / work.inner * work.length * work.inner + place % work.inner;
    float largest = __uint_as_float(0xff800000U), sum = 0.0f, mean = 0.0f;
#pragma unroll 8
    for (long long i = 0; i < work.length; ++i) {
      const float value = to_float(x[i * work.inner]);
      if (value > largest) {
        const float factor = expf(largest - value);
        sum *= factor;
        mean *= factor;
        largest = value;
      }
      // Where nothing is larger than minus infinity the mean is not a number, as softmax has it.
      const float power = value == __uint_as_float(0xff800000U) ? 0.0f : expf(value - largest);
      sum += power;
      mean += power * to_float(work.weights[i]);
    }
    work.output[place] = from_float<OUTPUT_TYPE>(mean / sum);
  }
}
