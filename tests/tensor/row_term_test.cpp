// Terms of rank one at the front of programs.
#include "tensor/row_term.h"

#include <gtest/gtest.h>

namespace hussar {
namespace {

ProgramStep step(ProgramOp op, uint8_t dst, uint8_t a, ProgramSource source, uint8_t b) {
  return {op, dst, a, source, b, {}, 0, 0};
}

TEST(RowTerm, IsPutInFrontAndTakenOff) {
  Program program{};
  program.steps[program.step_count++] = step(ProgramOp::kRelu, 0, 0, ProgramSource::kConstant, 0);
  program.operand_count = 4;
  put_row_term(program, {2, 3});
  ASSERT_TRUE(is_valid(program));
  EXPECT_EQ(program.step_count, 1 + kRowTermSteps);
  EXPECT_EQ(program.steps[kRowTermSteps].op, ProgramOp::kRelu);
  const auto term = row_term_of(program);
  ASSERT_TRUE(term.has_value());
  EXPECT_EQ(term->rows, 2);
  EXPECT_EQ(term->columns, 3);
  erase_row_term(program);
  EXPECT_EQ(program.step_count, 1);
  EXPECT_EQ(program.steps[0].op, ProgramOp::kRelu);
  EXPECT_FALSE(row_term_of(program));
}

TEST(RowTerm, StaysWhereItsRegisterIsReadLater) {
  for (bool writes_before : {false, true}) {
    Program program{};
    program.operand_count = 2;
    if (writes_before) program.steps[program.step_count++] = step(ProgramOp::kCopy, 1, 0, ProgramSource::kRegister, 0);
    program.steps[program.step_count++] = step(ProgramOp::kMul, 0, 0, ProgramSource::kRegister, 1);
    put_row_term(program, {0, 1});
    ASSERT_TRUE(is_valid(program));
    EXPECT_EQ(row_term_of(program).has_value(), writes_before);
  }
}

// Each step in another form.
TEST(RowTerm, NothingElseIsOne) {
  Program term{};
  term.operand_count = 2;
  put_row_term(term, {0, 1});
  ASSERT_TRUE(row_term_of(term));
  for (int i = 0; i < kRowTermSteps; ++i) {
    Program other = term;
    other.steps[i].op = ProgramOp::kSub;
    EXPECT_FALSE(row_term_of(other)) << i;
    other = term;
    other.steps[i].source = ProgramSource::kConstant;
    EXPECT_FALSE(row_term_of(other)) << i;
    other = term;
    other.steps[i].dst = 2;
    EXPECT_FALSE(row_term_of(other)) << i;
  }
  term.step_count = kRowTermSteps - 1;
  EXPECT_FALSE(row_term_of(term));
}

TEST(RowTerm, NeedsRoom) {
  Program program{};
  program.step_count = kProgramSteps - kRowTermSteps;
  program.operand_count = kProgramOperands - 2;
  EXPECT_TRUE(has_room(program, kRowTermSteps, 2));
  ++program.step_count;
  EXPECT_FALSE(has_room(program, kRowTermSteps, 2));
  --program.step_count;
  ++program.operand_count;
  EXPECT_FALSE(has_room(program, kRowTermSteps, 2));
}

}  // namespace
}  // namespace hussar
