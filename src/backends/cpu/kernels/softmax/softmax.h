// Softmax and LogSoftmax in FP32.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

// Along contiguous rows: row i of `length` elements starts at input + i * input_pitch. output may be input.
struct SoftmaxRows {
  const float* input;
  float* output;
  int64_t input_pitch, output_pitch;
  int64_t rows, length;
  bool log;
};

// Along the first axis of [length][inner], for the columns [begin, end) of inner; both tensors have this shape.
struct SoftmaxColumns {
  const float* input;
  float* output;
  int64_t length, inner;
  int64_t begin, end;
  bool log;
};

// A NaN or an infinity of which exp is not finite makes its whole row NaN; -infinity gives 0 unless all are.
struct SoftmaxTable {
  void (*rows)(const SoftmaxRows& args);
  void (*columns)(const SoftmaxColumns& args);
};

HUSSAR_DECLARE_PER_ISA(SoftmaxTable, softmax_table)

}  // namespace hussar::cpu
