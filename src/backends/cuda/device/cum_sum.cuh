// CumSum along one axis: a warp for each line where its elements lie side by side, else a thread.
//
// Defined before: INPUT_TYPE; VALUE, the type of computation; ROWS, 1 where elements lie side by side; EXCLUSIVE,
// REVERSE.
#pragma once

struct CumSum {
  long long lines, length, inner;
  const INPUT_TYPE* input;
  INPUT_TYPE* output;
};

extern "C" __global__ void __launch_bounds__(256) cum_sum(const __grid_constant__ CumSum work) {
  begin_kernel();
  constexpr int kThreads = ROWS ? 32 : 1;
  const long long step = static_cast<long long>(gridDim.x) * (256 / kThreads);
  const int lane = threadIdx.x % kThreads;
  for (long long line = static_cast<long long>(blockIdx.x) * (256 / kThreads) + threadIdx.x / kThreads; line < work.lines;
       line += step) {
    const long long first = line / work.inner * work.length * work.inner + line % work.inner;
    VALUE before = 0;
    for (long long begin = 0; begin < work.length; begin += kThreads) {
      const long long i = begin + lane;
      const bool is_there = i < work.length;
      const long long at = first + (REVERSE ? work.length - 1 - i : i) * work.inner;
      const VALUE value = is_there ? read<VALUE>(work.input[at]) : static_cast<VALUE>(0);
      VALUE sum = value;
      if constexpr (ROWS) {
#pragma unroll
        for (int lanes = 1; lanes < 32; lanes *= 2) {
          const VALUE other = __shfl_up_sync(0xffffffffU, sum, lanes);
          if (lane >= lanes) sum += other;
        }
      }
      if (is_there) work.output[at] = write<INPUT_TYPE>(EXCLUSIVE ? before + sum - value : before + sum);
      if constexpr (ROWS) {
        before += __shfl_sync(0xffffffffU, sum, 31);
      } else {
        before += sum;
      }
    }
  }
}
