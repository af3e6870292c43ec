// Resize of up to three spatial axes. First resize_taps finds what every position of every axis reads.
//
// Defined before: TAPS, 1 for nearest, 2 for linear, 4 for cubic, TAPS0 and TAPS1 the same, or 1 where the first or the
// second of the axes is none; COORDINATES and NEAREST, numbers of the modes;
// EXCLUDE_OUTSIDE; CUBIC; WORD, elements in memory; VALUE, WORD itself for nearest, else float; VECTOR, channels of one
// thread; CHANNELS_LAST.
#pragma once

struct Tap {
  int index[TAPS];
  float weight[TAPS];
};

struct ResizeTaps {
  long long input[3], output[3];
  double scale[3];
  Tap* taps;  // of the axes, one after another
};

__device__ __forceinline__ double source_of(double at, double input, double output, double scale) {
  if (COORDINATES == 4) return at / scale;  // asymmetric
  if (COORDINATES == 3) {                   // align_corners
    const double extent = scale * input;
    return extent == 1 ? 0 : at * (input - 1) / (extent - 1);
  }
  if (COORDINATES == 2 && output <= 1) return 0;  // pytorch_half_pixel
  const double centre = (at + 0.5) / scale - 0.5;
  return COORDINATES == 1 ? input / 2 * (1 - output / (scale * input)) + centre : centre;  // 1: half_pixel_symmetric
}

__device__ __forceinline__ double nearest_of(double x) {
  return NEAREST == 0 ? ceil(x - 0.5) : NEAREST == 1 ? floor(x + 0.5) : NEAREST == 2 ? floor(x) : ceil(x);
}

// Keys' cubic kernel, or the linear tent.
__device__ __forceinline__ double weight_of(double distance) {
  const double d = fabs(distance), a = CUBIC;
  if (TAPS == 2) return d < 1 ? 1 - d : 0;
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

__device__ __forceinline__ int clamped(long long index, long long size) {
  return static_cast<int>(index < 0 ? 0 : index >= size ? size - 1 : index);
}

__device__ __forceinline__ Tap tap_of(double x, long long size) {
  Tap tap;
  if (TAPS == 1) {
    tap.index[0] = clamped(static_cast<long long>(nearest_of(x)), size);
    tap.weight[0] = 1.0f;
    return tap;
  }
  const long long first = static_cast<long long>(ceil(x)) - TAPS / 2;
  double weights[TAPS], sum = 0;
#pragma unroll
  for (int t = 0; t < TAPS; ++t) {
    const bool outside = first + t < 0 || first + t >= size;
    weights[t] = EXCLUDE_OUTSIDE && outside ? 0 : weight_of(static_cast<double>(first + t) - x);
    sum += weights[t];
    tap.index[t] = clamped(first + t, size);
  }
  const double factor = EXCLUDE_OUTSIDE && sum != 0 ? 1 / sum : 1;
#pragma unroll
  for (int t = 0; t < TAPS; ++t) tap.weight[t] = static_cast<float>(weights[t] * factor);
  return tap;
}

extern "C" __global__ void __launch_bounds__(256) resize_taps(const __grid_constant__ ResizeTaps work) {
  begin_kernel();
  long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  Tap* tap = work.taps + at;
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) {
    const long long input = work.input[axis], output = work.output[axis];
    if (at >= 0 && at < output) {
      double x = source_of(static_cast<double>(at), static_cast<double>(input), static_cast<double>(output), work.scale[axis]);
      if (work.scale[axis] == 1 && input == output) x = static_cast<double>(at);
      // Far outside all coordinates read the edge; also keeps NaN and huge values out of integers.
      const double last = static_cast<double>(input - 1) + 8;
      *tap = tap_of(!(x > -8) ? -8 : x < last ? x : last, input);
    }
    at -= output;
  }
}

struct Resize {
  long long units, channels;  // of VECTOR each
  long long output[3];
  long long input_batch, input_channel, input_strides[3];
  long long output_batch, output_channel, output_strides[3];
  const WORD* from;
  WORD* to;
  const Tap* taps;
};

extern "C" __global__ void __launch_bounds__(256) resize(const __grid_constant__ Resize work) {
  begin_kernel();
  const unsigned step = gridDim.x * blockDim.x;
  for (unsigned unit = blockIdx.x * blockDim.x + threadIdx.x; unit < work.units; unit += step) {
    unsigned rest = unit;
    int channel = CHANNELS_LAST ? take(rest, work.channels) : 0;
    int place[3];
#pragma unroll
    for (int axis = 2; axis >= 0; --axis) place[axis] = take(rest, work.output[axis]);
    if (!CHANNELS_LAST) channel = take(rest, work.channels);
    const WORD* from = work.from + rest * work.input_batch + channel * VECTOR * work.input_channel;
    WORD* to = work.to + rest * work.output_batch + channel * VECTOR * work.output_channel;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) to += place[axis] * work.output_strides[axis];
    const Tap tap0 = work.taps[place[0]], tap1 = work.taps[work.output[0] + place[1]];
    const Tap tap2 = work.taps[work.output[0] + work.output[1] + place[2]];
    VALUE total[VECTOR] = {};
#pragma unroll
    for (int t0 = 0; t0 < TAPS0; ++t0) {
#pragma unroll
      for (int t1 = 0; t1 < TAPS1; ++t1) {
#pragma unroll
        for (int t2 = 0; t2 < TAPS; ++t2) {
          VALUE x[VECTOR];
          load(from + tap0.index[t0] * work.input_strides[0] + tap1.index[t1] * work.input_strides[1] +
                   tap2.index[t2] * work.input_strides[2],
               x);
#pragma unroll
          for (int i = 0; i < VECTOR; ++i) {
#if TAPS == 1
            total[i] = x[i];
#else
            const float outer = (TAPS0 > 1 ? tap0.weight[t0] : 1.0f) * (TAPS1 > 1 ? tap1.weight[t1] : 1.0f);
            total[i] += outer * tap2.weight[t2] * x[i];
#endif
          }
        }
      }
    }
    store<VECTOR>(to, total);
  }
}
