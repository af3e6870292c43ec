// TopK of lines of up to SIZE elements: each is sorted by one block.
//
// Defined before: INPUT_TYPE; VALUE, what elements are compared as; SIZE, a power of two; LARGEST, 0 for the smallest.
#pragma once

struct TopK {
  long long lines, length, inner, count;
  const INPUT_TYPE* input;
  INPUT_TYPE* values;  // null: not wanted, like the indices
  long long* indices;
};

// NaN counts as the largest; of equals the first comes first; what is behind the end of the line comes last.
__device__ __forceinline__ bool comes_first(VALUE a, int at_a, VALUE b, int at_b, int length) {
  if (at_a >= length || at_b >= length) return at_a < at_b;
  const bool nan_a = a != a, nan_b = b != b;
  if (nan_a != nan_b) return nan_a == (LARGEST != 0);
  if (!nan_a && a != b) return LARGEST ? a > b : a < b;
  return at_a < at_b;
}

extern "C" __global__ void __launch_bounds__(256) top_k(const __grid_constant__ TopK work) {
  begin_kernel();
  __shared__ VALUE values[SIZE];
  __shared__ int places[SIZE];
  const int length = static_cast<int>(work.length);
  for (long long line = blockIdx.x; line < work.lines; line += gridDim.x) {
    const long long outer = line / work.inner, inner = line % work.inner;
    const INPUT_TYPE* from = work.input + outer * work.length * work.inner + inner;
    for (int i = threadIdx.x; i < SIZE; i += blockDim.x) {
      values[i] = i < length ? read<VALUE>(from[i * work.inner]) : static_cast<VALUE>(0);
      places[i] = i;
    }
    __syncthreads();
    // Bitonic.
    for (int size = 2; size <= SIZE; size *= 2) {
      for (int stride = size / 2; stride > 0; stride /= 2) {
        for (int pair = threadIdx.x; pair < SIZE / 2; pair += blockDim.x) {
          const int low = 2 * pair - (pair & (stride - 1)), high = low + stride;
          const bool is_forward = (low & size) == 0;
          const bool is_swapped = comes_first(values[high], places[high], values[low], places[low], length);
          if (is_swapped != is_forward) continue;
          const VALUE value = values[low];
          const int place = places[low];
          values[low] = values[high];
          places[low] = places[high];
          values[high] = value;
          places[high] = place;
        }
        __syncthreads();
      }
    }
    for (int i = threadIdx.x; i < work.count; i += blockDim.x) {
      const long long to = (outer * work.count + i) * work.inner + inner;
      if (work.values != nullptr) work.values[to] = from[places[i] * work.inner];
      if (work.indices != nullptr) work.indices[to] = places[i];
    }
    __syncthreads();
  }
}
