// Elementwise nodes as steps of a fused program.
#pragma once
#include <optional>

#include "graph/graph.h"
#include "tensor/program.h"

namespace hussar {

// A program under construction and what its operands are.
struct ProgramDraft {
  Program program{};
  std::vector<Value*> operands;

  bool add(ProgramStep step);
  // The index of an operand, a new one if needed; -1 when there is no room.
  int operand(Value* value);
};

// Whether the node is an FP32 elementwise operator that a program can express.
bool is_programmable(const Node& node);

// Appends the node's work. `main` is the input that register 0 holds now; the result is left in register 0.
bool append_node(ProgramDraft& draft, const Node& node, const Value* main);

// Appends another program that starts in register 0 where this one ends.
bool append_program(ProgramDraft& draft, const Program& program, const std::vector<Value*>& operands);

}  // namespace hussar
