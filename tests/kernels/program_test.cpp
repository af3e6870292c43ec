// Vector programs: every op against libm in double precision, special values, every operand form, aliasing, pieces.
#include "backends/cpu/kernels/pointwise/program.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "tests/kernels/levels.h"

namespace hussar::cpu {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

ProgramStep unary(ProgramOp op, float p0 = 0, float p1 = 0) {
  return {op, 0, 0, ProgramSource::kRegister, 0, {}, p0, p1};
}

Program one_step(ProgramStep step, int operands = 0) {
  Program program{};
  program.step_count = 1;
  program.operand_count = static_cast<uint8_t>(operands);
  program.steps[0] = step;
  return program;
}

struct UnaryCase {
  ProgramOp op;
  float p0, p1;
  float low, high;     // range of the inputs
  double relative;     // allowed error relative to the result ...
  double absolute;     // ... or absolute
  bool weights_input;  // the absolute error grows with |x|
  std::function<double(double)> exact;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) { return std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x))); }

std::vector<UnaryCase> unary_cases() {
  using enum ProgramOp;
  constexpr double kUlps = 1e-6;
  const double sqrt2 = std::sqrt(2.0);
  const float alpha = 1.6732632f, gamma = 1.0507010f;
  return {
      {kRelu, 0, 0, -5, 5, 0, 0, false, [](double x) { return x > 0 ? x : 0; }},
      {kClip, -1.5f, 2.5f, -5, 5, 0, 0, false, [](double x) { return std::fmin(std::fmax(x, -1.5), 2.5); }},
      {kLeakyRelu, 0.125f, 0, -5, 5, 0, 0, false, [](double x) { return x < 0 ? 0.125 * x : x; }},
      {kElu, 0.75f, 0, -20, 5, kUlps, 0, false, [](double x) { return x > 0 ? x : 0.75 * std::expm1(x); }},
      {kSelu, alpha, gamma, -20, 5, kUlps, 0, false,
       [=](double x) { return double(gamma) * (x > 0 ? x : double(alpha) * std::expm1(x)); }},
      {kCelu, 1.5f, 0, -20, 5, kUlps, 0, false, [](double x) { return x > 0 ? x : 1.5 * std::expm1(x / 1.5); }},
      {kSigmoid, 0, 0, -87, 40, kUlps, 0, false, sigmoid},
      {kHardSigmoid, 0.2f, 0.5f, -5, 5, 0, 1e-7, false,
       [](double x) { return std::fmin(std::fmax(double(0.2f) * x + 0.5, 0), 1); }},
      {kHardSwish, 0, 0, -5, 5, 0, 1e-6, false, [](double x) { return x * std::fmin(std::fmax(x / 6 + 0.5, 0), 1); }},
      {kSilu, 0, 0, -80, 40, kUlps, 0, false, [](double x) { return x * sigmoid(x); }},
      {kTanh, 0, 0, -12, 12, kUlps, 0, false, [](double x) { return std::tanh(x); }},
      {kTanh, 0, 0, -1e-3f, 1e-3f, kUlps, 0, false, [](double x) { return std::tanh(x); }},
      {kGeluErf, 0, 0, -8, 8, 0, 3e-7, true, [=](double x) { return x / 2 * (1 + std::erf(x / sqrt2)); }},
      {kGeluTanh, 0, 0, -4, 8, 2e-6, 0, false,
       [](double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
      {kQuickGelu, 1.702f, 0, -8, 8, 2e-6, 0, false, [](double x) { return x * sigmoid(double(1.702f) * x); }},
      {kErf, 0, 0, -6, 6, kUlps, 0, false, [](double x) { return std::erf(x); }},
      {kErf, 0, 0, -1e-3f, 1e-3f, kUlps, 0, false, [](double x) { return std::erf(x); }},
      {kExp, 0, 0, -87, 88.7f, kUlps, 0, false, [](double x) { return std::exp(x); }},
      {kExp, 0, 0, -104, -87, 0, 1.5e-45, false, [](double x) { return std::exp(x); }},
      {kLog, 0, 0, 1e-38f, 1e-30f, kUlps, 0, false, [](double x) { return std::log(x); }},
      {kLog, 0, 0, 1e-44f, 1e-38f, kUlps, 0, false, [](double x) { return std::log(x); }},
      {kLog, 0, 0, 0.5f, 2, kUlps, 0, false, [](double x) { return std::log(x); }},
      {kLog, 0, 0, 2, 3e38f, kUlps, 0, false, [](double x) { return std::log(x); }},
      {kSqrt, 0, 0, 0, 1e6f, 1e-7, 0, false, [](double x) { return std::sqrt(x); }},
      {kRsqrt, 0, 0, 1e-6f, 1e6f, 2e-7, 0, false, [](double x) { return 1 / std::sqrt(x); }},
      {kReciprocal, 0, 0, -3, 3, 1e-7, 0, false, [](double x) { return 1 / x; }},
      {kNeg, 0, 0, -3, 3, 0, 0, false, [](double x) { return -x; }},
      {kAbs, 0, 0, -3, 3, 0, 0, false, [](double x) { return std::fabs(x); }},
      {kSquare, 0, 0, -3, 3, 1e-7, 0, false, [](double x) { return x * x; }},
      {kFloor, 0, 0, -9, 9, 0, 0, false, [](double x) { return std::floor(x); }},
      {kCeil, 0, 0, -9, 9, 0, 0, false, [](double x) { return std::ceil(x); }},
      {kRound, 0, 0, -9, 9, 0, 0, false, [](double x) { return std::nearbyint(x); }},
      {kSign, 0, 0, -3, 3, 0, 0, false, [](double x) { return double((x > 0) - (x < 0)); }},
      {kSoftplus, 0, 0, -80, 40, kUlps, 0, false, softplus},
      {kSoftsign, 0, 0, -9, 9, 2e-7, 0, false, [](double x) { return x / (1 + std::fabs(x)); }},
      {kMish, 0, 0, -80, 60, kUlps, 0, false, [](double x) { return x * std::tanh(softplus(x)); }},
      {kThresholdedRelu, 1.0f, 0, -3, 3, 0, 0, false, [](double x) { return x > 1 ? x : 0; }},
  };
}

std::vector<float> run_contiguous(Isa isa, const Program& program, const std::vector<float>& input,
                                  const ProgramOperand* operands = nullptr) {
  std::vector<float> output(input.size());
  const int64_t count = static_cast<int64_t>(input.size());
  select_program_table(isa).run(program, operands, {input.data(), output.data(), count, count, 0, 0, 1, count});
  return output;
}

TEST(ProgramOps, MatchExactValues) {
  for (Isa isa : available_levels()) {
    for (const UnaryCase& c : unary_cases()) {
      const std::vector<float> input = random_floats(20011, c.low, c.high);
      const std::vector<float> output = run_contiguous(isa, one_step(unary(c.op, c.p0, c.p1)), input);
      double worst = 0;
      for (size_t i = 0; i < input.size(); ++i) {
        const double exact = c.exact(input[i]);
        const double weight = c.weights_input ? std::fmax(1, std::fabs(input[i])) : 1;
        // The reciprocal of 0 is infinite.
        const double error = output[i] == exact ? 0 : std::fabs(output[i] - exact);
        ASSERT_LE(error, c.relative * std::fabs(exact) + c.absolute * weight)
            << isa_name(isa) << ' ' << program_op_name(c.op) << " at " << input[i] << " gives " << output[i];
        if (exact != 0) worst = std::fmax(worst, error / std::fabs(exact));
      }
      RecordProperty(std::string(isa_name(isa)) + "_" + program_op_name(c.op), std::to_string(worst));
    }
  }
}

// Compares bit patterns as far as they matter: NaN with NaN, otherwise equal with a tolerance of one part in a million.
void expect_same(float actual, float expected, const std::string& what) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(actual)) << what << " gives " << actual;
  } else if (std::isinf(expected)) {
    EXPECT_EQ(actual, expected) << what;
  } else {
    EXPECT_NEAR(actual, expected, 1e-6f * std::fabs(expected)) << what;
  }
}

TEST(ProgramOps, NanStaysNan) {
  for (Isa isa : available_levels()) {
    for (int op = 0; op < kProgramOpCount; ++op) {
      ProgramStep step = unary(static_cast<ProgramOp>(op), 1.0f, 2.0f);
      const std::vector<float> output = run_contiguous(isa, one_step(step), std::vector<float>(19, kNan));
      for (float value : output) EXPECT_TRUE(std::isnan(value)) << isa_name(isa) << ' ' << program_op_name(step.op);
    }
  }
}

TEST(ProgramOps, NanFromEitherSide) {
  using enum ProgramOp;
  const float other[] = {kNan, 1.0f, kNan};
  const std::vector<float> input = {1.0f, kNan, kNan};
  const ProgramOperand operand = {other, 3, 1};
  for (Isa isa : available_levels()) {
    for (ProgramOp op : {kAdd, kSub, kMul, kDiv, kMin, kMax}) {
      const Program program = one_step({op, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0}, 1);
      for (float value : run_contiguous(isa, program, input, &operand)) {
        EXPECT_TRUE(std::isnan(value)) << isa_name(isa) << ' ' << program_op_name(op);
      }
    }
  }
}

TEST(ProgramOps, LimitsAndSpecialValues) {
  using enum ProgramOp;
  struct Case {
    ProgramOp op;
    float x, expected;
  };
  const Case cases[] = {
      {kExp, kInf, kInf},    {kExp, -kInf, 0},        {kExp, 0, 1},
      {kExp, 89, kInf},      {kExp, 1000, kInf},      {kExp, -1000, 0},
      {kLog, 0, -kInf},      {kLog, -0.0f, -kInf},    {kLog, kInf, kInf},
      {kLog, -1, kNan},      {kLog, -kInf, kNan},     {kLog, 1, 0},
      {kTanh, kInf, 1},      {kTanh, -kInf, -1},      {kErf, kInf, 1},
      {kErf, -kInf, -1},     {kSigmoid, kInf, 1},     {kSigmoid, -kInf, 0},
      {kSilu, kInf, kInf},   {kSilu, -kInf, 0},       {kGeluErf, kInf, kInf},
      {kGeluErf, -kInf, 0},  {kGeluTanh, kInf, kInf}, {kGeluTanh, -kInf, 0},
      {kMish, kInf, kInf},   {kMish, -kInf, 0},       {kSoftplus, kInf, kInf},
      {kSoftplus, -kInf, 0}, {kElu, -kInf, -1},       {kElu, kInf, kInf},
      {kRelu, kInf, kInf},   {kRelu, -kInf, 0},       {kReciprocal, 0, kInf},
      {kSqrt, -1, kNan},     {kRound, 0.5f, 0},       {kRound, 1.5f, 2},
      {kRound, 2.5f, 2},     {kRound, -0.5f, 0},      {kSign, -kInf, -1},
      {kSign, 0, 0},         {kRound, 3e9f, 3e9f},    {kFloor, -0.5f, -1},
      {kFloor, 3e9f, 3e9f},  {kCeil, -3e9f, -3e9f},
  };
  for (Isa isa : available_levels()) {
    for (const Case& c : cases) {
      const float actual = run_contiguous(isa, one_step(unary(c.op, 1.0f, 1.0f)), std::vector<float>(3, c.x))[1];
      expect_same(actual, c.expected,
                  std::string(isa_name(isa)) + " " + program_op_name(c.op) + " " + std::to_string(c.x));
    }
  }
}

TEST(ProgramOps, BinaryMatchesDouble) {
  using enum ProgramOp;
  const std::vector<float> a = random_floats(1003, 0.1f, 4), b = random_floats(1003, -3, 3);
  const ProgramOperand operand = {b.data(), 1003, 1};
  const std::function<double(double, double)> exact[] = {
      [](double, double y) { return y; },
      [](double x, double y) { return x + y; },
      [](double x, double y) { return x - y; },
      [](double x, double y) { return x * y; },
      [](double x, double y) { return x / y; },
      [](double x, double y) { return std::fmin(x, y); },
      [](double x, double y) { return std::fmax(x, y); },
      [](double x, double y) { return std::pow(x, y); },
      [](double x, double y) { return x < 0 ? x * y : x; },
  };
  for (Isa isa : available_levels()) {
    for (int op = 0; op < 9; ++op) {
      const Program program = one_step({static_cast<ProgramOp>(op), 0, 0, ProgramSource::kOperand, 0, {}, 0, 0}, 1);
      const std::vector<float> output = run_contiguous(isa, program, a, &operand);
      for (size_t i = 0; i < a.size(); ++i) {
        const double expected = exact[op](a[i], b[i]);
        const double scale = std::fabs(a[i]) + std::fabs(b[i]) + std::fabs(expected);
        ASSERT_NEAR(output[i], expected, 1.2e-7 * scale) << isa_name(isa) << ' ' << op;
      }
    }
  }
}

// y = max(prelu((x * scale[column] + bias[row]) - residual, slope), scalar), in every geometry and in place.
TEST(Program, OperandFormsPitchesAndAliasing) {
  using enum ProgramOp;
  Program program{};
  program.step_count = 6;
  program.operand_count = 4;
  const auto operand = ProgramSource::kOperand;
  program.steps[0] = {kMul, 3, 0, operand, 0, {}, 0, 0};
  program.steps[1] = {kAdd, 3, 3, operand, 1, {}, 0, 0};
  program.steps[2] = {kSub, 5, 3, operand, 2, {}, 0, 0};
  program.steps[3] = {kPrelu, 5, 5, ProgramSource::kConstant, 0, {}, 0.25f, 0};
  program.steps[4] = {kMul, 1, 5, ProgramSource::kRegister, 0, {}, 0, 0};  // times the input itself
  program.steps[5] = {kMax, 0, 1, operand, 3, {}, 0, 0};
  ASSERT_TRUE(is_valid(program));
  for (Isa isa : available_levels()) {
    for (int64_t rows : {1, 2, 14, 33}) {
      for (int64_t columns : {1, 7, 16, 31, 64, 512, 517, 1100}) {
        const int64_t row0 = 3, column0 = 5, pitch = columns + 9, full_pitch = columns + 21;
        const std::vector<float> scale = random_floats(columns + column0), bias = random_floats(rows + row0);
        const std::vector<float> residual = random_floats((rows + row0) * full_pitch), least = {-0.5f};
        const ProgramOperand operands[] = {
            {scale.data(), 0, 1}, {bias.data(), 1, 0}, {residual.data(), full_pitch, 1}, {least.data(), 0, 0}};
        const std::vector<float> input = random_floats(rows * pitch);
        std::vector<float> inplace = input;
        select_program_table(isa).run(program, operands,
                                      {inplace.data(), inplace.data(), pitch, pitch, row0, column0, rows, columns});
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t c = 0; c < pitch; ++c) {
            const float x = input[r * pitch + c];
            if (c >= columns) {
              ASSERT_EQ(inplace[r * pitch + c], x) << "wrote beyond the row";
              continue;
            }
            float v = x * scale[c + column0] + bias[r + row0] - residual[(r + row0) * full_pitch + c + column0];
            v = std::fmax((v < 0 ? v * 0.25f : v) * x, -0.5f);
            ASSERT_NEAR(inplace[r * pitch + c], v, 1e-6f) << isa_name(isa) << ' ' << rows << 'x' << columns;
          }
        }
      }
    }
  }
}

// What the program gives when every step is a program of its own.
std::vector<float> step_by_step(Isa isa, const Program& program, const std::vector<float>& input) {
  std::vector<float> registers[kProgramRegisters] = {input};
  int last = 0;
  for (int i = 0; i < program.step_count; ++i) {
    ProgramStep step = program.steps[i];
    ProgramOperand operand = {};
    if (reads_b(step.op) && step.source == ProgramSource::kRegister) {
      operand = {registers[step.b].data(), static_cast<int64_t>(input.size()), 1};
      step.source = ProgramSource::kOperand;
    }
    step.b = step.a = 0;
    last = std::exchange(step.dst, uint8_t{0});
    registers[last] = run_contiguous(isa, one_step(step, 1), registers[program.steps[i].a], &operand);
  }
  return registers[last];
}

// The steps of a fake-quantization run as one.
TEST(Program, RoundingStepsGiveTheirOwnBits) {
  using enum ProgramOp;
  const auto constant = ProgramSource::kConstant, other = ProgramSource::kRegister;
  for (int change = 0; change < 5; ++change) {
    Program program{};
    auto add = [&](ProgramStep step) { program.steps[program.step_count++] = step; };
    add({kMul, 1, 0, constant, 0, {}, 1.7f, 0});
    add({kDiv, 2, 1, constant, 0, {}, 0.0123f, 0});
    add({kRound, 2, 2, constant, 0, {}, 0, 0});
    add({kClip, 2, 2, constant, 0, {}, -100, 155});
    add({kMul, 2, 2, constant, 0, {}, 0.0123f, 0});
    add({kAdd, 0, 2, other, 1, {}, 0, 0});
    if (change == 1) program.steps[2].a = 1;                            // rounds another register
    if (change == 2) program.steps[3].dst = 3, program.steps[4].a = 3;  // leaves the rounded number in register 2
    if (change == 3) program.steps[4].source = other;                   // times a register
    if (change == 4) program.step_count = 5;                            // ends with it
    ASSERT_TRUE(is_valid(program));
    for (Isa isa : available_levels()) {
      for (size_t count : {1, 19, 1100}) {
        std::vector<float> input = random_floats(static_cast<int64_t>(count), -2, 2);
        if (count > 4) input[1] = kNan, input[2] = kInf, input[3] = -kInf;
        const std::vector<float> output = run_contiguous(isa, program, input);
        const std::vector<float> expected = step_by_step(isa, program, input);
        for (size_t i = 0; i < count; ++i) {
          if (std::isnan(expected[i])) {
            ASSERT_TRUE(std::isnan(output[i])) << isa_name(isa) << ' ' << change;
          } else {
            ASSERT_EQ(output[i], expected[i]) << isa_name(isa) << ' ' << change << " at " << input[i];
          }
        }
      }
    }
  }
}

TEST(Program, ContiguousBlockIsFlattened) {
  using enum ProgramOp;
  const int64_t rows = 37, columns = 29, row0 = 2;
  const std::vector<float> input = random_floats(rows * columns), other = random_floats((rows + row0) * columns);
  const float half = 0.5f;
  Program program{};
  program.step_count = 2;
  program.operand_count = 2;
  program.steps[0] = {kMul, 0, 0, ProgramSource::kOperand, 1, {}, 0, 0};
  program.steps[1] = {kAdd, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0};
  const ProgramOperand operands[] = {{other.data(), columns, 1}, {&half, 0, 0}};
  for (Isa isa : available_levels()) {
    std::vector<float> output(input.size());
    select_program_table(isa).run(program, operands,
                                  {input.data(), output.data(), columns, columns, row0, 0, rows, columns});
    for (size_t i = 0; i < input.size(); ++i) {
      ASSERT_FLOAT_EQ(output[i], input[i] * 0.5f + other[i + row0 * columns]);
    }
  }
}

TEST(Program, RefusesBadPrograms) {
  using enum ProgramOp;
  EXPECT_TRUE(is_valid(one_step(unary(kRelu))));
  EXPECT_FALSE(is_valid(Program{}));
  EXPECT_FALSE(is_valid(one_step(unary(static_cast<ProgramOp>(kProgramOpCount)))));
  EXPECT_FALSE(is_valid(one_step({kRelu, 0, 1, ProgramSource::kRegister, 0, {}, 0, 0})));  // register 1 never written
  EXPECT_FALSE(is_valid(one_step({kRelu, 8, 0, ProgramSource::kRegister, 0, {}, 0, 0})));
  EXPECT_FALSE(is_valid(one_step({kAdd, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0}, 0)));
  EXPECT_TRUE(is_valid(one_step({kAdd, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0}, 1)));
  EXPECT_FALSE(is_valid(one_step({kAdd, 0, 0, static_cast<ProgramSource>(9), 0, {}, 0, 0}, 1)));
  Program too_long = one_step(unary(kRelu));
  too_long.step_count = kProgramSteps + 1;
  EXPECT_FALSE(is_valid(too_long));
}

}  // namespace
}  // namespace hussar::cpu
