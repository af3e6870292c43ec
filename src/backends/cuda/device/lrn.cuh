// LRN: each element divided by a power of the sum of squares over neighbouring channels.
//
// Defined before: INPUT_TYPE; BEFORE and AFTER, the neighbours on either side.
#pragma once

struct Lrn {
  long long elements, channels, inner;
  long long input_channel, output_channel;  // elements from one channel to the next
  long long input_pitch, output_pitch;      // channels-last: from pixel to pixel; else 0
  const INPUT_TYPE* input;
  INPUT_TYPE* output;
  float factor;  // of the sum
  float unused0;
  float bias;
  float unused1;
  float power;
};

extern "C" __global__ void __launch_bounds__(256) lrn(const __grid_constant__ Lrn work) {
  begin_kernel();
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < work.elements; i += step) {
    long long channel, from, to;
    if (work.input_pitch > 0) {
      channel = i % work.channels;
      from = i / work.channels * work.input_pitch + channel;
      to = i / work.channels * work.output_pitch + channel;
    } else {
      channel = i / work.inner % work.channels;
      from = to = i;
    }
    const long long first = channel > BEFORE ? channel - BEFORE : 0;
    const long long last = channel + AFTER < work.channels ? channel + AFTER : work.channels - 1;
    float sum = 0.0f;
    for (long long k = first; k <= last; ++k) {
      const float x = read<float>(work.input[from + (k - channel) * work.input_channel]);
      sum += x * x;
    }
    const float base = work.bias + work.factor * sum;
    work.output[to] = write<INPUT_TYPE>(read<float>(work.input[from]) * powf(base, -work.power));
  }
}
