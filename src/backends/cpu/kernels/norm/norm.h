// Normalisation of contiguous rows in FP32: LayerNormalization and RMSNormalization.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

// Row i of `length` elements starts at input + i * input_pitch.
// y = (x - mean) / sqrt(variance + epsilon) * scale + bias; without `center` the mean counts as 0.
struct NormRows {
  const float* input;
  float* output;  // may be input
  int64_t input_pitch, output_pitch;
  int64_t rows, length;
  const float* scale;  // [length], or null
  const float* bias;   // [length], or null
  float epsilon;
  bool center;
  float* mean;               // [rows], or null
  float* inverse_deviation;  // [rows], or null
};

struct NormTable {
  void (*rows)(const NormRows& args);
};

HUSSAR_DECLARE_PER_ISA(NormTable, norm_table)

}  // namespace hussar::cpu
