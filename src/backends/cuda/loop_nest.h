// Work on several tensors as nested loops over an output, with the strides of each tensor.
#pragma once
#include <cstdint>
#include <span>

#include "hussar/status.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar::cuda {

inline constexpr int kNestTensors = 18;  // an output, an input and the operands of a program

struct LoopNest {
  int rank = 1;
  int tensors = 0;
  int64_t dims[kMaxRank] = {};                   // outermost first
  int64_t strides[kNestTensors][kMaxRank] = {};  // elements; tensor 0 is the output; 0 where a tensor is broadcast

  int64_t elements() const;
  // The most of 8, 4, 2 or 1 neighbours that one thread can take: the innermost loop is a multiple, and every tensor
  // has them side by side, or has one for all, and begins each of its rows at a multiple.
  int vector() const;
};

// The output's axes in the order of its memory, merged where they lie without gaps in all tensors. Fails where an input
// cannot be broadcast to the output.
Result<LoopNest> loop_nest(std::span<const Operand> inputs, const Operand& output);

// A value as an operand, with data where it is a constant. Symbolic dimensions count as a number that nothing divides;
// the rank must be known.
Operand operand_of(const Value& value);
// Merges loops that lie without gaps in all tensors, and drops those of one turn.
void merge(LoopNest& nest);

// Where it begins within the value that holds it, in elements.
int64_t offset_in_holder(const Value& value);

// Elements from one index of each logical axis to the next.
void strides_of(const Operand& operand, int64_t (&strides)[kMaxRank]);

}  // namespace hussar::cuda
