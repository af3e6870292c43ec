// InstanceNormalization and GroupNormalization: a row is all channels of a group.
//
// Defined before: INPUT_TYPE, of the output, too; SCALE_TYPE, BIAS_TYPE.
#pragma once

struct GroupNorm {
  long long rows, length;
  long long groups, channels, plane;  // groups of an image; channels of a group; elements of a channel
  const INPUT_TYPE* input;
  INPUT_TYPE* output;
  const SCALE_TYPE* scale;
  const BIAS_TYPE* bias;
  float epsilon;
};

extern "C" __global__ void __launch_bounds__(256) group_norm(const __grid_constant__ GroupNorm work) {
  begin_kernel();
  const float count = static_cast<float>(work.length);
  const long long step = static_cast<long long>(gridDim.x) * kRowsOfBlock;
  for (long long r = static_cast<long long>(blockIdx.x) * kRowsOfBlock + threadIdx.x / GROUP; r < work.rows; r += step) {
    Row<INPUT_TYPE> row{work.input + r * work.length, work.length};
    float mean = 0.0f, squares = 0.0f;
    row.visit_first([&](long long, const float (&x)[VECTOR]) {
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) mean += x[i];
    });
    mean = row_sum(mean) / count;
    row.visit_again([&](long long, const float (&x)[VECTOR]) {
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) squares += (x[i] - mean) * (x[i] - mean);
    });
    const float inverse = 1.0f / sqrtf(row_sum(squares) / count + work.epsilon);
    const long long first = r % work.groups * work.channels;
    INPUT_TYPE* output = work.output + r * work.length;
    row.visit_again([&](long long at, const float (&x)[VECTOR]) {
      // VECTOR elements are of one channel.
      const long long channel = first + static_cast<unsigned>(at) / static_cast<unsigned>(work.plane);
      const float scale = inverse * read<float>(work.scale[channel]), bias = read<float>(work.bias[channel]);
      float y[VECTOR];
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) y[i] = (x[i] - mean) * scale + bias;
      store<VECTOR>(output + at, y);
    });
  }
}
