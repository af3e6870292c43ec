// MaxPool and AveragePool over three spatial axes; where there are fewer, the first ones have one element.
//
// Defined before: INPUT_TYPE, OUTPUT_TYPE; VALUE, the type of computation; VECTOR, channels of one
// thread; CHANNELS_LAST; MAXIMUM, 1 for MaxPool; LOWEST; BYTE_MAXIMUM, 1 for MaxPool of unsigned
// bytes with VECTOR a multiple of 4; AVERAGE_BYTES, 1 for means of bytes that stand for (byte - ZERO_POINT) * SCALE,
// whose sums are exact in VALUE; COUNT_PADDING, 1 where the mean counts padding as zeros;
// KERNEL0, KERNEL1, KERNEL2.
#pragma once

struct Pool {
  long long units, channels;  // of VECTOR each
  long long input[3], output[3], stride[3], dilation[3], pad[3], pad_end[3];
  long long input_batch, input_channel, input_strides[3];
  long long output_batch, output_channel, output_strides[3];
  const INPUT_TYPE* from;
  OUTPUT_TYPE* to;
  ByteMeaning meaning;
};

// Taps of an axis that lie in the input or in its padding.
__device__ __forceinline__ int taps(const Pool& work, int axis, int first, int kernel) {
  const int end = static_cast<int>(work.input[axis] + work.pad_end[axis]) - first;
  const int dilation = static_cast<int>(work.dilation[axis]);
  return end <= 0 ? 0 : min(kernel, (end + dilation - 1) / dilation);
}

#if BYTE_MAXIMUM

// Of both halves of a word.
__device__ __forceinline__ unsigned larger_halves(unsigned a, unsigned b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  unsigned larger;
  asm("max.u16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
  return larger;
#else
  return max(a & 0xffffU, b & 0xffffU) | max(a >> 16, b >> 16) << 16;
#endif
}

// The largest of each of VECTOR neighbouring bytes over the window. The upper byte of the larger of two halves of words
// is the larger upper byte, so that the others need not be taken off. Padding is 0, the least of all: loads need no
// branches.
__device__ __forceinline__ void largest_bytes(const Pool& work, const unsigned char* from, const int (&first)[3],
                                              unsigned char* to) {
  constexpr int kWords = VECTOR / 4;
  unsigned odd[kWords] = {}, even[kWords] = {};
  for (int k0 = 0; k0 < KERNEL0; ++k0) {
    const int at0 = first[0] + k0 * static_cast<int>(work.dilation[0]);
#pragma unroll(KERNEL1* KERNEL2 <= 16 ? KERNEL1 : 1)
    for (int k1 = 0; k1 < KERNEL1; ++k1) {
      const int at1 = first[1] + k1 * static_cast<int>(work.dilation[1]);
#pragma unroll(KERNEL1* KERNEL2 <= 16 ? KERNEL2 : 1)
      for (int k2 = 0; k2 < KERNEL2; ++k2) {
        const int at2 = first[2] + k2 * static_cast<int>(work.dilation[2]);
        const bool inside =
            at0 >= 0 && at0 < work.input[0] && at1 >= 0 && at1 < work.input[1] && at2 >= 0 && at2 < work.input[2];
        Pack<kWords, unsigned> x = {};
        if (inside)
          x = *reinterpret_cast<const Pack<kWords, unsigned>*>(
              from + at0 * work.input_strides[0] + at1 * work.input_strides[1] + at2 * work.input_strides[2]);
#pragma unroll
        for (int i = 0; i < kWords; ++i) {
          odd[i] = larger_halves(odd[i], x.values[i]);
          even[i] = larger_halves(even[i], x.values[i] << 8);
        }
      }
    }
  }
  Pack<kWords, unsigned> largest;
#pragma unroll
  for (int i = 0; i < kWords; ++i) largest.values[i] = (odd[i] & 0xff00ff00U) | (even[i] >> 8 & 0xff00ffU);
  *reinterpret_cast<Pack<kWords, unsigned>*>(to) = largest;
}

#endif

extern "C" __global__ void __launch_bounds__(256) pool(const __grid_constant__ Pool work) {
  begin_kernel();
  const unsigned step = gridDim.x * blockDim.x;
  for (unsigned unit = blockIdx.x * blockDim.x + threadIdx.x; unit < work.units; unit += step) {
    unsigned rest = unit;
    int channel = CHANNELS_LAST ? take(rest, work.channels) : 0;
    int place[3];
#pragma unroll
    for (int axis = 2; axis >= 0; --axis) place[axis] = take(rest, work.output[axis]);
    if (!CHANNELS_LAST) channel = take(rest, work.channels);
    const INPUT_TYPE* from = work.from + rest * work.input_batch + channel * VECTOR * work.input_channel;
    OUTPUT_TYPE* to = work.to + rest * work.output_batch + channel * VECTOR * work.output_channel;
    int first[3];
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
      first[axis] = place[axis] * static_cast<int>(work.stride[axis]) - static_cast<int>(work.pad[axis]);
      to += place[axis] * work.output_strides[axis];
    }
#if BYTE_MAXIMUM
    largest_bytes(work, from, first, to);
    continue;
#endif
    VALUE total[VECTOR];
    for (int i = 0; i < VECTOR; ++i) total[i] = MAXIMUM ? LOWEST : 0;
    int count = 0;
    for (int k0 = 0; k0 < KERNEL0; ++k0) {
      const int at0 = first[0] + k0 * static_cast<int>(work.dilation[0]);
      if (at0 < 0 || at0 >= work.input[0]) continue;
      for (int k1 = 0; k1 < KERNEL1; ++k1) {
        const int at1 = first[1] + k1 * static_cast<int>(work.dilation[1]);
        if (at1 < 0 || at1 >= work.input[1]) continue;
        for (int k2 = 0; k2 < KERNEL2; ++k2) {
          const int at2 = first[2] + k2 * static_cast<int>(work.dilation[2]);
          if (at2 < 0 || at2 >= work.input[2]) continue;
          VALUE x[VECTOR];
          load(from + at0 * work.input_strides[0] + at1 * work.input_strides[1] + at2 * work.input_strides[2], x);
          ++count;
#pragma unroll
          for (int i = 0; i < VECTOR; ++i) {
            // NaN wins.
            total[i] = MAXIMUM ? (x[i] > total[i] || x[i] != x[i] ? x[i] : total[i]) : total[i] + x[i];
          }
        }
      }
    }
    const int inside = count;
    if (COUNT_PADDING) {
      count = taps(work, 0, first[0], KERNEL0) * taps(work, 1, first[1], KERNEL1) * taps(work, 2, first[2], KERNEL2);
    }
#if AVERAGE_BYTES
    const float factor = SCALE / static_cast<float>(max(count, 1));
    float mean[VECTOR];
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) mean[i] = static_cast<float>(total[i] - inside * ZERO_POINT) * factor;
    store_results<VECTOR>(to, mean, work.meaning);
#else
    if (!MAXIMUM) {
      for (int i = 0; i < VECTOR; ++i) total[i] /= static_cast<VALUE>(max(count, 1));
    }
    store<VECTOR>(to, total);
#endif
  }
}
