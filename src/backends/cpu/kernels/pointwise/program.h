// Runs vector programs (simd/program.h).
#pragma once
#include "backends/cpu/isa.h"
#include "backends/cpu/simd/program.h"

namespace hussar::cpu {

struct ProgramTable {
  // Runs the program on one rectangle, in pieces that stay in the L1 cache. The program must be valid and operands
  // must hold program.operand_count entries. Uses 20 KB of stack; safe to call from any thread.
  void (*run)(const Program& program, const ProgramOperand* operands, const ProgramBlock& block);
};

HUSSAR_DECLARE_PER_ISA(ProgramTable, program_table)

}  // namespace hussar::cpu
