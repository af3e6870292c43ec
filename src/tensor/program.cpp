// The parts of the vector program that need no vectors: the check of a stored program, the names of its ops.
#include "tensor/program.h"

#include "tensor/fake_quantize.h"

namespace hussar {
namespace {

constexpr const char* kNames[] = {
    "copy",         "add",        "sub",   "mul",        "div",        "min",       "max",        "pow",
    "prelu",        "relu",       "clip",  "leaky_relu", "elu",        "selu",      "celu",       "sigmoid",
    "hard_sigmoid", "hard_swish", "silu",  "tanh",       "gelu_erf",   "gelu_tanh", "quick_gelu", "erf",
    "exp",          "log",        "sqrt",  "rsqrt",      "reciprocal", "neg",       "abs",        "square",
    "floor",        "ceil",       "round", "sign",       "softplus",   "softsign",  "mish",       "thresholded_relu",
};
static_assert(sizeof(kNames) / sizeof(kNames[0]) == kProgramOpCount);

// In range whether the op reads it or not: the kernels look up both operands of every step.
bool is_valid_b(const ProgramStep& step, int operand_count, uint32_t written) {
  switch (step.source) {
    case ProgramSource::kRegister:
      return step.b < kProgramRegisters && (!reads_b(step.op) || ((written >> step.b) & 1) != 0);
    case ProgramSource::kOperand: return step.b < operand_count;
    case ProgramSource::kConstant: return true;
  }
  return false;
}

}  // namespace

bool is_valid(const Program& program) {
  if (program.step_count < 1 || program.step_count > kProgramSteps) return false;
  if (program.operand_count > kProgramOperands) return false;
  uint32_t written = 1;
  for (int i = 0; i < program.step_count; ++i) {
    const ProgramStep& step = program.steps[i];
    if (static_cast<int>(step.op) >= kProgramOpCount) return false;
    if (step.dst >= kProgramRegisters || step.a >= kProgramRegisters) return false;
    if (reads_a(step.op) && ((written >> step.a) & 1) == 0) return false;
    if (!is_valid_b(step, program.operand_count, written)) return false;
    written |= 1u << step.dst;
  }
  return true;
}

const char* program_op_name(ProgramOp op) {
  const int index = static_cast<int>(op);
  return index < kProgramOpCount ? kNames[index] : "?";
}

bool adds_and_bounds(const Program& program, int index) {
  const int first = fake_quantize_at(program, 0) ? kFakeQuantizeSteps : 0;
  for (int i = first; i < program.step_count; ++i) {
    const ProgramStep& step = program.steps[i];
    const bool constant = step.source == ProgramSource::kConstant;
    const bool adds = step.op == ProgramOp::kAdd && step.source == ProgramSource::kOperand && step.b == index;
    const bool bounds = step.op == ProgramOp::kRelu || step.op == ProgramOp::kClip ||
                        (constant && (step.op == ProgramOp::kMin || step.op == ProgramOp::kMax));
    if (step.dst != 0 || step.a != 0 || !(i == first ? adds : bounds)) return false;
  }
  return program.step_count > first;
}

}  // namespace hussar
