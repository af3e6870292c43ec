// Bottlenecks in one kernel, against the two convolutions that they are made of.
#include <cmath>
#include <fstream>

#include "tactics/choose.h"
#include "tactics/problem_grammar.h"
#include "tests/kernels/kernel_case.h"
#include "tests/support/emulated_device.h"

namespace hussar {
namespace {

constexpr DType kBytes = DType::kUInt8, kHalf = DType::kFloat16, kBrain = DType::kBFloat16;

struct Form {
  int64_t batch, channels, middle, filters, height, width;
};

bool has_gpu() { return !tests::is_emulated(tests::use_test_device()); }

bool can_run(const KernelCase& test) {
  const auto refusal = refusal_of(test);
  return !refusal || !refusal->starts_with("needs ");
}

// The last operand of the program is added.
void add_shortcut(KernelCase& test, const Form& form, DType dtype) {
  Program program{};
  program.operand_count = 1;
  program.step_count = 2;
  program.steps[0].op = ProgramOp::kAdd;
  program.steps[0].source = ProgramSource::kOperand;
  program.steps[1].op = ProgramOp::kRelu;
  test.program = program;
  test.program_inputs = 7;
  while (test.inputs.size() < 7) test.inputs.emplace_back();
  const Shape output{form.batch, form.filters, form.height, form.width};
  const bool of_bytes = dtype == kBytes;
  test.inputs.push_back({random_tensor(dtype, output, of_bytes ? 0 : -1, of_bytes ? 255 : 1), false,
                         Layout::kChannelsLast, 16 * pick(0, 1)});
  if (of_bytes) {
    test.attributes.set("operand_scale", 0.125F);
    test.attributes.set("operand_zero_point", pick(0, 255));
  }
}

Argument weights_of(DType dtype, const Shape& shape) {
  const double most = dtype == DType::kInt8 ? 127 : 1;
  return {random_tensor(dtype, shape, -most, most), true};
}

// Of halves: sums of about one.
Argument small_weights(DType dtype, const Shape& shape, int64_t depth) {
  const double most = 1.7 / std::sqrt(static_cast<double>(depth));
  return {random_tensor(dtype, shape, -most, most), true};
}

Argument floats(int64_t count, double low, double high) {
  return {random_tensor(DType::kFloat32, {count}, low, high), true};
}

// With scales that are powers of two, and even zero points, bytes are the same whichever way they are rounded.
KernelCase bottleneck_of(DType dtype, const Form& form, bool has_shortcut) {
  const bool of_bytes = dtype == kBytes;
  KernelCase test{"cuda_bottleneck", "hussar.Bottleneck", {}};
  test.emulated_sm = 90;
  const Shape first{form.middle, form.channels, 3, 3}, second{form.filters, form.middle, 1, 1};
  const Shape picture{form.batch, form.channels, form.height, form.width};
  test.inputs = {{of_bytes ? random_tensor(kBytes, picture, 0, 255) : random_tensor(dtype, picture, -1, 1)}};
  test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
  test.inputs[0].gap = 16 * pick(0, 1);
  test.output_gap = 16 * pick(0, 1);
  Attributes& attributes = test.attributes;
  attributes.set("first_pads", Ints{1, 1, 1, 1});
  attributes.set("first_activation", Floats{static_cast<float>(ProgramOp::kRelu), 0, 0});
  if (of_bytes) {
    const int64_t zero_point = pick(0, 1) * pick(0, 40);
    attributes.set("op", std::string("hussar.QuantizedConv"));
    for (const char* name : {"first_x_scale", "first_y_scale", "x_scale", "y_scale"}) attributes.set(name, 0.25F);
    attributes.set("first_y_zero_point", zero_point);
    attributes.set("x_zero_point", zero_point);
    // What it adds to sums is taken off after rounding.
    if (zero_point != 0) test.tolerance = 1e-5;
    attributes.set("y_zero_point", 2 * pick(0, 4));
    for (const Shape& shape : {first, second}) {
      test.inputs.push_back(weights_of(DType::kInt8, shape));
      const double unit = 40 / (70 * 128 * std::sqrt(static_cast<double>(shape.elements(1, 4))));
      test.inputs.push_back(floats(shape[0], unit, 2 * unit));
      test.inputs.push_back(pick(0, 1) == 1 ? floats(shape[0], -4, 4) : Argument{});
    }
  } else {
    attributes.set("op", std::string("Conv"));
    for (const Shape& shape : {first, second}) {
      test.inputs.push_back(small_weights(dtype, shape, shape.elements(1, 4)));
      test.inputs.emplace_back();
      test.inputs.push_back(pick(0, 1) == 1 ? Argument{random_tensor(dtype, {shape[0]}, -1, 1), true} : Argument{});
    }
    test.tolerance = dtype == kBrain ? 3e-2 : 4e-3;
  }
  if (has_shortcut) add_shortcut(test, form, dtype);
  return test;
}

void expect_all_agree(DType dtype, std::initializer_list<Form> small, std::initializer_list<Form> large) {
  if (!can_run(bottleneck_of(dtype, {1, 64, 64, 128, 3, 3}, false))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (const auto& list : {small, has_gpu() ? large : std::initializer_list<Form>{}}) {
    for (const Form& form : list) {
      SCOPED_TRACE(std::to_string(form.height) + "x" + std::to_string(form.width));
      for (bool has_shortcut : {true, false}) expect_kernel_agrees(bottleneck_of(dtype, form, has_shortcut));
      if (testing::Test::HasFailure()) return;
    }
  }
}

// Pictures whose lines are not whole jobs, of one line, of one pixel; several jobs of a team; the longest lines.
TEST(CudaBottleneck, OfBytes) {
  expect_all_agree(kBytes,
                   {{1, 64, 64, 128, 1, 1},
                    {2, 64, 64, 256, 7, 5},
                    {3, 64, 64, 128, 5, 21},
                    {1, 64, 64, 128, 3, 64},
                    {9, 64, 64, 128, 14, 14}},
                   {{128, 64, 64, 256, 56, 56}, {37, 64, 64, 256, 23, 56}, {8, 64, 64, 256, 28, 28}});
}
// Weights that two blocks share.
TEST(CudaBottleneck, OfManyBytes) {
  expect_all_agree(kBytes, {{1, 128, 128, 256, 1, 1}, {2, 128, 128, 512, 5, 28}, {5, 64, 128, 512, 13, 14}},
                   {{128, 128, 128, 512, 28, 28}, {37, 128, 128, 512, 23, 28}});
}
TEST(CudaBottleneck, OfHalves) {
  expect_all_agree(kHalf, {{1, 64, 64, 128, 1, 1}, {2, 64, 64, 256, 7, 5}, {1, 64, 64, 128, 3, 64}},
                   {{64, 64, 64, 256, 56, 56}, {37, 64, 64, 256, 23, 56}});
}
TEST(CudaBottleneck, OfBf16) { expect_all_agree(kBrain, {{2, 64, 64, 256, 7, 5}}, {{64, 64, 64, 256, 56, 56}}); }

TEST(CudaBottleneck, WhatItRefuses) {
  const KernelCase usual = bottleneck_of(kBytes, {1, 64, 64, 128, 3, 3}, false);
  if (!can_run(usual)) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  EXPECT_EQ(refusal_of(usual), std::nullopt);
  auto with = [&](const char* name, Attribute value) {
    KernelCase test = usual;
    test.attributes.set(name, std::move(value));
    return refusal_of(test);
  };
  EXPECT_EQ(with("first_x_zero_point", int64_t{3}), "pads with bytes that are not 0");
  EXPECT_EQ(with("x_scale", 0.5F), "meanings of what is between");

  EXPECT_EQ(refusal_of(bottleneck_of(kBytes, {1, 64, 64, 128, 3, 65}, false)), "lines are longer than 64");
  EXPECT_EQ(refusal_of(bottleneck_of(kBytes, {1, 256, 256, 1024, 3, 3}, false)), "weights do not fit shared memory");
  EXPECT_EQ(refusal_of(bottleneck_of(kBytes, {1, 96, 64, 128, 3, 3}, false)),
            "channels are not multiples of 64, and of 128 behind");
  KernelCase strided = usual;
  strided.attributes.set("first_strides", Ints{2, 2});
  EXPECT_NE(refusal_of(strided), std::nullopt);
}

// Where bytes end at 0 anyway no instruction is spent on a relu before them.
TEST(CudaBottleneck, ReluOfBytesIsTheirEnd) {
  KernelCase test = bottleneck_of(kBytes, {1, 64, 64, 128, 3, 3}, true);
  if (!can_run(test)) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  auto relus = [&](int64_t between, int64_t behind) {
    for (const char* name : {"first_y_zero_point", "x_zero_point"}) test.attributes.set(name, between);
    test.attributes.set("y_zero_point", behind);
    const std::string source = source_of(test, 90), relu = "= f_max(r0, 0.0f)";
    int count = 0;
    for (size_t at = source.find(relu); at != std::string::npos; at = source.find(relu, at + 1)) ++count;
    return count;
  };
  EXPECT_EQ(relus(0, 0), 0);
  EXPECT_EQ(relus(2, 0), 1);
  EXPECT_EQ(relus(0, 2), 1);
  EXPECT_EQ(relus(2, 2), 2);
  for (const int64_t zero_point : {0, 2}) {
    test.attributes.set("y_zero_point", zero_point);
    test.tolerance = 1e-5;
    expect_kernel_agrees(test);
  }
}

// What bench/problems/bottleneck_gpu.txt asks to be measured is what kernels of Hopper do.
TEST(CudaBottleneck, ProblemsToMeasure) {
  std::ifstream file(HUSSAR_TESTS "/../bench/problems/bottleneck_gpu.txt");
  Target target;
  target.place = Place::kDevice;
  target.sm = 90;
  target.no_fp16 = {};
  int steps = 0, parts = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    SCOPED_TRACE(line);
    auto problem = parse_problem(line.substr(line.find(": ") + 2));
    ASSERT_TRUE(problem) << problem.error().message;
    EXPECT_TRUE(has_own_kernel(Problem{*problem->node, target}));
    ++(problem->node->op == "hussar.Bottleneck" ? steps : parts);
  }
  EXPECT_EQ(steps, 4);
  EXPECT_EQ(parts, 8);
}

}  // namespace
}  // namespace hussar
