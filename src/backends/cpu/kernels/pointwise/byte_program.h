// Vector programs some of whose numbers are bytes.
#pragma once
#include "backends/cpu/kernels/pointwise/program.h"

namespace hussar::cpu {

// Elements that stand for (q - zero_point) * scale. Null: real numbers, where the block or the operand says.
struct ProgramBytes {
  const uint8_t* data = nullptr;
  float scale = 1;
  int32_t zero_point = 0;
};

// In place of the pointers of a ProgramBlock and of its ProgramOperands, whose strides hold for either.
struct ByteForms {
  ProgramBytes input;
  ProgramBytes operands[kProgramOperands];
  // saturate(round(y / output_scale) + output_zero_point); NaN gives 0.
  uint8_t* output = nullptr;
  float output_scale = 1;
  int32_t output_zero_point = 0;
};

struct ByteProgramTable {
  // As ProgramTable::run. Where an output is bytes, the input may not lie in it.
  void (*run)(const Program& program, const ProgramOperand* operands, const ProgramBlock& block,
              const ByteForms& forms);
};

HUSSAR_DECLARE_PER_ISA(ByteProgramTable, byte_program_table)

}  // namespace hussar::cpu
