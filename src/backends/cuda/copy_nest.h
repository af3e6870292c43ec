// Strided copies as loops: tensor 0 is the output, tensor 1 the input.
#pragma once
#include "backends/cuda/loop_nest.h"

namespace hussar::cuda {

// Axes of `sizes` with strides on both sides, in the order of the output's memory.
LoopNest copy_nest(const Shape& sizes, const int64_t* in, const int64_t* out);
// Transpose.
LoopNest transpose_nest(const Attributes& attributes, const Operand& x, const Operand& y);
// Expand, and Reformat, which is one without axes that repeat.
LoopNest expand_nest(const Operand& x, const Operand& y);

// Puts loops of one turn in front of the others, so that there are `rank`. False when there are more.
bool pad_loops(LoopNest& nest, int64_t rank);

}  // namespace hussar::cuda
