// LayerNormalization and RMSNormalization of rows in memory, behind norm_rows.cuh.
//
// Defined before: INPUT_TYPE.
#pragma once

struct Normalize {
  Normalization norm;
  const INPUT_TYPE* input;
};

extern "C" __global__ void __launch_bounds__(kRowThreads) normalize(const __grid_constant__ Normalize work) {
  begin_kernel();
  normalize_rows(work.norm, [&](long long r) { return Elements<INPUT_TYPE>{work.input + r * work.norm.length}; });
}
