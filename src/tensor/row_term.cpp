#include "tensor/row_term.h"

#include <algorithm>

namespace hussar {
namespace {

constexpr uint8_t kRegister = 1;

bool is_step(const ProgramStep& step, ProgramOp op, uint8_t dst, ProgramSource source) {
  return step.op == op && step.dst == dst && (!reads_a(op) || step.a == dst) && step.source == source;
}

}  // namespace

bool has_room(const Program& program, int steps, int operands) {
  return program.step_count + steps <= kProgramSteps && program.operand_count + operands <= kProgramOperands;
}

void put_in_front(Program& program, const ProgramStep* steps, int count) {
  std::copy_backward(program.steps, program.steps + program.step_count, program.steps + program.step_count + count);
  std::copy_n(steps, count, program.steps);
  program.step_count = static_cast<uint8_t>(program.step_count + count);
}

void put_row_term(Program& program, const RowTerm& term) {
  ProgramStep steps[kRowTermSteps] = {};
  steps[0] = {ProgramOp::kCopy, kRegister, 0, ProgramSource::kOperand, static_cast<uint8_t>(term.rows), {}, 0, 0};
  steps[1] = {
      ProgramOp::kMul, kRegister, kRegister, ProgramSource::kOperand, static_cast<uint8_t>(term.columns), {}, 0, 0};
  steps[2] = {ProgramOp::kAdd, 0, 0, ProgramSource::kRegister, kRegister, {}, 0, 0};
  put_in_front(program, steps, kRowTermSteps);
}

std::optional<RowTerm> row_term_of(const Program& program) {
  if (program.step_count < kRowTermSteps) return std::nullopt;
  const ProgramStep* steps = program.steps;
  const bool is_term = is_step(steps[0], ProgramOp::kCopy, kRegister, ProgramSource::kOperand) &&
                       is_step(steps[1], ProgramOp::kMul, kRegister, ProgramSource::kOperand) &&
                       is_step(steps[2], ProgramOp::kAdd, 0, ProgramSource::kRegister) && steps[2].b == kRegister;
  if (!is_term) return std::nullopt;
  for (int i = kRowTermSteps; i < program.step_count; ++i) {
    const ProgramStep& step = program.steps[i];
    const bool reads_register = (reads_a(step.op) && step.a == kRegister) ||
                                (reads_b(step.op) && step.source == ProgramSource::kRegister && step.b == kRegister);
    if (reads_register) return std::nullopt;
    if (step.dst == kRegister) break;
  }
  return RowTerm{steps[0].b, steps[1].b};
}

void erase_row_term(Program& program) {
  std::copy(program.steps + kRowTermSteps, program.steps + program.step_count, program.steps);
  for (int i = 0; i < kRowTermSteps; ++i) program.steps[--program.step_count] = {};
}

}  // namespace hussar
