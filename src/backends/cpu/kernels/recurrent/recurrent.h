// The recurrent part of LSTM and GRU in FP32, for one sequence at a time.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

struct RecurrentTable {
  // out[i] = start[i] + matrix[i] . x for i < rows; matrix is [rows][length]; start and out may be the same.
  void (*multiply)(const float* matrix, const float* x, const float* start, float* out, int64_t rows, int64_t length);
  // gates: input, output, forget, cell, each [hidden], before their activations. Updates c and h.
  void (*lstm_cell)(const float* gates, float* c, float* h, int64_t hidden);
  // gates: update and reset [hidden] each, before their activations, which are written back; reset_h = reset * h.
  void (*gru_gates)(float* gates, const float* h, float* reset_h, int64_t hidden);
  // candidate = tanh(input + scale * recurrent), scale being 1 where it is null; h = (1 - update) candidate + update h.
  void (*gru_cell)(const float* update, const float* input, const float* scale, const float* recurrent, float* h,
                   int64_t hidden);
};

HUSSAR_DECLARE_PER_ISA(RecurrentTable, recurrent_table)

}  // namespace hussar::cpu
