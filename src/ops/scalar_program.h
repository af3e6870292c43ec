// Scalar evaluation of fused elementwise programs (tensor/program.h): the oracle of the vector code.
#pragma once
#include "ops/evaluate.h"
#include "tensor/program.h"

namespace hussar {

// One step's op on numbers.
float evaluate_program_op(const ProgramStep& step, float a, float b);

// Runs context.node.program over output 0. `start`, when not null, holds what register 0 starts as, one element per
// element of the output; else input 0 does when program_inputs is 1. Operands are broadcast to the output.
Status evaluate_program(EvalContext& context, const float* start);

}  // namespace hussar
