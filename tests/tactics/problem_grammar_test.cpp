// What is spelled is read back; what people leave out is filled in; nonsense is refused.
#include "tactics/problem_grammar.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "tactics/choose.h"
#include "tensor/program_text.h"
#include "tests/support/pipeline.h"
#include "tests/support/small_models.h"

namespace hussar {
namespace {

void expect_same_spelling(const std::string& text) {
  auto problem = parse_problem(text);
  ASSERT_TRUE(problem.has_value()) << text << "\n" << problem.error().message;
  EXPECT_EQ(spell_problem(*problem->node), text);
}

TEST(ProblemGrammar, SpelledInFullIsReadBack) {
  expect_same_spelling(
      "Conv x0=1x64x56x56:float32:nhwc x1=32x64x3x3:float32:const x2=32:float32:const x3=1x32x28x28:float32:nhwc "
      "y0=1x32x28x28:float32:nhwc group=1 kernel_shape=3,3 pads=1,1,1,1 strides=2,2 fuse=add(x3);clip(0,6)");
  expect_same_spelling("MaxPool x0=2x8x9x9:float32:nchw y0=2x8x7x7:float32:nchw kernel_shape=3,3");
  expect_same_spelling("MatMul x0=12x128x64:float32 x1=12x64x128:float32 y0=12x128x128:float32");
  expect_same_spelling(
      "Slice x0=4x6:float32 x1=1:int64:const:{1} x2=1:int64:const:{5} x3=1:int64:const:{1} "
      "y0=4x4:float32");
  expect_same_spelling("hussar.Pointwise x0=2x3:float32 x1=2x3:float32 y0=2x3:float32 fuse=add(x1);sigmoid");
  expect_same_spelling("Softmax x0=3x5:float32 y0=3x5:float32 axis=-1");
  expect_same_spelling("LeakyRelu x0=7:float32 y0=7:float32 alpha=1.0");
  expect_same_spelling("Einsum x0=2x3:float32 x1=3x4:float32 y0=2x4:float32 equation=\"ab,bc -> ac\"");
}

TEST(ProblemGrammar, SparseWeightsAreReadBack) {
  for (const char* pattern : {"2:4", "2:4x16", "2:4x32", "2:4x64", "2:4x128"}) {
    expect_same_spelling("MatMul x0=5x64:float32 x1=64x256:float32:const:" + std::string(pattern) +
                         " y0=5x256:float32");
    expect_same_spelling("MatMul x0=5x64:float16 x1=64x256:float16:const:" + std::string(pattern) +
                         " y0=5x256:float16");
    expect_same_spelling("hussar.QuantizedMatMul x0=5x64:float8e4m3fn x1=64x256:float8e4m3fn:const:" +
                         std::string(pattern) + " x2=256:float32:const y0=5x256:float32 x_scale=0.5");
    expect_same_spelling("Conv x0=1x8x9x9:float32:nhwc x1=256x8x3x3:float32:const:" + std::string(pattern) +
                         " y0=1x256x7x7:float32:nhwc kernel_shape=3,3");
  }
  for (const char* text :
       {"MatMul x0=5x64 x1=64x256:const:2:5x64", "MatMul x0=5x64 x1=64x256:const:2:4x0",
        "MatMul x0=5x64 x1=64x256:const:2", "MatMul x0=5x64:2:4 x1=64x256:const", "Add x0=64 x1=64:const:2:4x64"}) {
    EXPECT_FALSE(parse_problem(text).has_value()) << text;
  }
}

TEST(ProblemGrammar, ProblemsOfTheBenchmarks) {
  int problems = 0;
  for (const auto& file : std::filesystem::directory_iterator(HUSSAR_TESTS "/../bench/problems")) {
    std::ifstream lines(file.path());
    Target target;
    if (file.path().stem().string().ends_with("_gpu")) target.place = Place::kDevice, target.sm = 90;
    for (std::string line; std::getline(lines, line);) {
      const size_t colon = line.find(": ");
      if (line.empty() || line[0] == '#') continue;
      ASSERT_NE(colon, std::string::npos) << line;
      auto problem = parse_problem(std::string_view(line).substr(colon + 2));
      ASSERT_TRUE(problem.has_value()) << line << "\n" << problem.error().message;
      EXPECT_NE(choose(Problem{*problem->node, target}).tactic(), nullptr) << line << ": no kernel takes it";
      ++problems;
    }
  }
  EXPECT_GE(problems, 40);
}

TEST(ProblemGrammar, WhatPeopleLeaveOut) {
  auto problem = parse_problem("conv x=1x3x32x32 w=16x3x3x3 pads=1,1,1,1 fuse=relu");
  ASSERT_TRUE(problem.has_value()) << problem.error().message;
  EXPECT_EQ(spell_problem(*problem->node),
            "Conv x0=1x3x32x32:float32:nhwc x1=16x3x3x3:float32:const y0=1x16x32x32:float32:nhwc kernel_shape=3,3 "
            "pads=1,1,1,1 fuse=relu");
  problem = parse_problem("matmul m=5 n=7 k=3");
  ASSERT_TRUE(problem.has_value()) << problem.error().message;
  EXPECT_EQ(spell_problem(*problem->node), "MatMul x0=5x3:float32 x1=3x7:float32:const y0=5x7:float32");
  problem = parse_problem("gemm x=5x3 w=3x7 b=7");
  ASSERT_TRUE(problem.has_value()) << problem.error().message;
  EXPECT_TRUE(problem->node->inputs[2]->is_constant());
  EXPECT_TRUE(problem->graph.sort());
  EXPECT_TRUE(problem->graph.verify());
}

TEST(ProblemGrammar, NonsenseIsRefused) {
  for (const char* text : {"",
                           "   ",
                           "NoSuchOperator x=1",
                           "Conv",
                           "Conv x",
                           "Conv x=",
                           "Conv x=1x3x4y4 w=1x3x1x1",
                           "Conv x=1x3x4x4",
                           "Conv x=1x3x4x4 w=8x5x3x3",
                           "Relu x=3:float99",
                           "Relu x=?",
                           "Relu x=-3",
                           "Relu x=9999999999x9999999999",
                           "Relu x70=3",
                           "matmul m=3 n=4",
                           "matmul m=0 n=4 k=4",
                           "matmul m=3 n=4 k=5 x=3x5",
                           "Relu x=3 fuse=nothing",
                           "Relu x=3 fuse=add(x4)",
                           "Relu x=3 fuse=clip(0)",
                           "Slice x=4 x1=1:int64:const:{1,2}",
                           "Relu x=3 value=?",
                           "If x=1:bool"}) {
    auto problem = parse_problem(text);
    ASSERT_FALSE(problem.has_value()) << text;
    EXPECT_EQ(problem.error().code, ErrorCode::kUsage) << text << ": " << problem.error().message;
  }
}

Program random_program(std::mt19937& random, int operands) {
  Program program{};
  uint32_t written = 1;
  auto written_register = [&] {
    uint8_t index = 0;
    do index = static_cast<uint8_t>(random() % kProgramRegisters);
    while ((written >> index & 1) == 0);
    return index;
  };
  program.step_count = static_cast<uint8_t>(1 + random() % kProgramSteps);
  for (int i = 0; i < program.step_count; ++i) {
    ProgramStep& step = program.steps[i];
    step.op = static_cast<ProgramOp>(random() % kProgramOpCount);
    if (reads_a(step.op)) step.a = written_register();
    if (reads_b(step.op)) {
      step.source = static_cast<ProgramSource>(random() % 3);
      if (step.source == ProgramSource::kRegister) step.b = written_register();
      if (step.source == ProgramSource::kOperand) step.b = static_cast<uint8_t>(random() % operands);
      if (step.source == ProgramSource::kConstant) step.p0 = static_cast<float>(random()) * -1e-7F;
      if (step.source == ProgramSource::kOperand && step.b >= program.operand_count) program.operand_count = step.b + 1;
    }
    step.dst = static_cast<uint8_t>(random() % kProgramRegisters);
    written |= 1U << step.dst;
  }
  return program;
}

TEST(ProblemGrammar, RandomProgramsAreReadBack) {
  std::mt19937 random(5);
  for (int i = 0; i < 2000; ++i) {
    Program program = random_program(random, 5);
    ASSERT_TRUE(is_valid(program));
    std::string text = spell_program(program, 3);
    auto again = parse_program(text, 3);
    ASSERT_TRUE(again.has_value()) << text;
    EXPECT_EQ(spell_program(*again, 3), text);
    EXPECT_EQ(again->operand_count, program.operand_count);
    for (int s = 0; s < program.step_count; ++s) {
      EXPECT_EQ(again->steps[s].op, program.steps[s].op);
      EXPECT_EQ(again->steps[s].dst, program.steps[s].dst);
      EXPECT_EQ(again->steps[s].source, program.steps[s].source);
      EXPECT_EQ(again->steps[s].b, program.steps[s].b);
    }
  }
}

TEST(ProblemGrammar, RandomBytesEndInAnAnswer) {
  std::mt19937 random(6);
  const std::string good =
      "Conv x0=1x8x9x9:float32:nhwc x1=8x8x3x3:float32:const y0=1x8x7x7:float32:nhwc kernel_shape=3,3 fuse=add(2);relu";
  for (int i = 0; i < 3000; ++i) {
    std::string text = good;
    for (uint32_t edits = random() % 6; edits > 0; --edits) {
      text[random() % text.size()] = "x0=:;,(){}123 "[random() % 14];
    }
    auto problem = parse_problem(text);
    EXPECT_FALSE(problem ? spell_problem(*problem->node).empty() : problem.error().message.empty());
  }
}

}  // namespace
}  // namespace hussar
