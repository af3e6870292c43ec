// A plan is a file: that its kernels, dtypes, layouts and operands go together is checked before anything relies on it.
#pragma once
#include "plan/kernel.h"
#include "plan/plan.h"
#include "tactics/tactic.h"

namespace hussar {

// Whether the kernel of a step (null: the reference evaluator) takes its operands: their number, and what the kernel's
// own tactic says of their dtypes, layouts and ranks. False: inference refuses the operands, so the
// tactic could not be asked, and the kernel must not run them either; the reference evaluator checks for itself.
Result<bool> check_step(const Plan& plan, const PlanGraph& graph, const PlanStep& step, const Kernel* kernel,
                        const Target& target);

// The type of an operand before the kernel packed it. On a CPU packed elements may be of another: what is not int8 was
// of the type of the data, where these are floats.
DType unpacked_dtype(const Kernel& kernel, DType packed, DType data);

}  // namespace hussar
