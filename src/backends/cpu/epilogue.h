// From a step's fused program to the Epilogue of the tile kernels.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar::cpu {

// What is fixed when shapes are bound. Indices are into the step's inputs; -1: none.
struct EpilogueState {
  int32_t bias = -1;      // per-column operand that is added first
  int32_t residual = -1;  // full operand that is added next
  float low = -INFINITY, high = INFINITY;
  bool hard_swish = false;
  float scale = 1, shift = 0;  // of the hard-swish
  // Instead of them, or of 1 and 0 without a hard-swish: per-column operands.
  int32_t scales = -1, shifts = -1;
  bool runs_program = false;  // the rest does not fit the fast path: run the whole program
  int64_t row_strides[kProgramOperands] = {};
  uint8_t column_strides[kProgramOperands] = {};
};

// Whether a product with weights of this type takes x and gives y: float32, but with int8 weights x is uint8 and y may
// be.
bool fit_product(const Operand& x, const Operand& y, DType weights);

// bias_input: an input of the step that is a bias of its own (Conv's third), or -1. knows_hard_swish: the kernel heeds
// Epilogue::hard_swish, which stays false otherwise. knows_bytes: operands may be uint8, and the kernel heeds
// Epilogue::scales and shifts.
Status prepare_epilogue(const Prepare& prepare, int32_t bias_input, EpilogueState& state, bool knows_hard_swish = false,
                        bool knows_bytes = false);

// Fills the epilogue for one run, but for what is bytes; `operands` has room for kProgramOperands entries and
// must outlive it.
Epilogue make_epilogue(const Run& run, const EpilogueState& state, ProgramOperand* operands);

// Whether every operand of the node's program can be addressed as rows and columns of the output. knows_bytes: they
// may be uint8.
Refusal check_epilogue(const Problem& problem, bool knows_bytes = false);

// Number of shares worth using for this much work.
int share_count(double flops, int threads);

}  // namespace hussar::cpu
