// Two convolutions and their sum in one step on Hopper, against the reference: small ones on any machine, where
// tests/support/emulated_hopper.h is what multiplies and copies, larger ones on a GPU.
#include <cmath>
#include <fstream>

#include "plan/kernel.h"
#include "tactics/choose.h"
#include "tactics/problem_grammar.h"
#include "tensor/conv_sum.h"
#include "tensor/convert.h"
#include "tests/kernels/kernel_case.h"
#include "tests/support/emulated_device.h"

namespace hussar {
namespace {

constexpr DType kHalf = DType::kFloat16, kBrain = DType::kBFloat16, kFloat = DType::kFloat32,
                kFp8 = DType::kFloat8E4M3FN, kBytes = DType::kUInt8;

struct Block {
  int64_t batch, height, width;     // of the result
  int64_t channels, more, filters;  // of the first picture, of the shortcut's, of the result
  int64_t stride, left = 0;         // of the shortcut; rows and columns behind its last window
};

Tensor picture_of(DType dtype, const Shape& shape) {
  if (dtype == kFp8) return converted(random_tensor(DType::kInt8, shape, -4, 4), kFp8);
  return dtype == kBytes ? random_tensor(kBytes, shape, 0, 255) : random_tensor(dtype, shape, -1, 1);
}
Tensor filter_of(DType dtype, const Shape& shape) {
  return dtype == kBytes ? random_tensor(DType::kInt8, shape, -128, 127) : picture_of(dtype, shape);
}

// x, w, and what else one of the convolutions has; numbers of about one come out.
void add_convolution(KernelCase& test, DType dtype, const Shape& x, int64_t filters) {
  const int64_t channels = x[1];
  test.inputs.push_back({picture_of(dtype, x), false, Layout::kChannelsLast, 16 * pick(0, 1)});
  test.inputs.push_back({filter_of(dtype, {filters, channels, 1, 1}), true});
  const bool of_bytes = dtype == kBytes || dtype == kFp8;
  const double unit = 1 / ((dtype == kFp8 ? 20.0 / 3 : 70.0 * 70.0) * std::sqrt(static_cast<double>(channels)));
  if (of_bytes) test.inputs.push_back({random_tensor(kFloat, {filters}, 100 * unit, 200 * unit), true});
  test.inputs.emplace_back();
  if (pick(0, 3) > 0) test.inputs.back() = {random_tensor(of_bytes ? kFloat : dtype, {filters}, -1, 1), true};
}

KernelCase case_of(DType dtype, const Block& b) {
  const bool of_bytes = dtype == kBytes || dtype == kFp8;
  KernelCase test{"cuda_conv_sum_hopper", std::string(of_bytes ? kQuantizedConvSum : kConvSum), {}};
  test.emulated_sm = 90;
  test.output_layout = Layout::kChannelsLast;
  test.tolerance = dtype == kBrain ? 1.6e-2 : dtype == kHalf ? 2e-3 : 1e-5;
  add_convolution(test, dtype, {b.batch, b.channels, b.height, b.width}, b.filters);
  auto size = [&](int64_t places) { return (places - 1) * b.stride + 1 + b.left; };
  add_convolution(test, dtype, {b.batch, b.more, size(b.height), size(b.width)}, b.filters);
  test.attributes.set("shortcut_strides", Ints{b.stride, b.stride});
  if (of_bytes) {
    test.attributes.set("x_scale", 0.01F);
    test.attributes.set("shortcut_x_scale", 0.007F);
  }
  if (dtype == kBytes) {
    test.attributes.set("x_zero_point", pick(0, 255));
    test.attributes.set("shortcut_x_zero_point", pick(0, 255));
  }
  return test;
}

// Takes the positive part, perhaps behind another sum, with results of the given type.
KernelCase finished(KernelCase test, DType result, bool adds) {
  Program program{};
  if (adds) {
    program.operand_count = 1;
    program.steps[program.step_count].op = ProgramOp::kAdd;
    program.steps[program.step_count++].source = ProgramSource::kOperand;
  }
  program.steps[program.step_count++].op = ProgramOp::kRelu;
  test.program = program;
  test.program_inputs = static_cast<int32_t>(test.inputs.size());
  const Shape &x = test.inputs[0].tensor.shape(), &w = test.inputs[1].tensor.shape();
  const bool of_bytes = test.op == kQuantizedConvSum;
  const DType operand = of_bytes ? kFloat : test.inputs[0].tensor.dtype();
  if (adds)
    test.inputs.push_back({random_tensor(operand, {x[0], w[0], x[2], x[3]}, -1, 1), false, Layout::kChannelsLast});
  if (result == kBytes || result == kFp8) {
    test.attributes.set("y_scale", result == kFp8 ? 0.02F : 0.03F);
    if (result == kBytes) test.attributes.set("y_zero_point", pick(0, 100));
  }
  if (of_bytes && result != kBytes) test.attributes.set("y_type", static_cast<int64_t>(result));
  if (result == kHalf) test.tolerance = 2e-3;
  return test;
}

bool can_run(const KernelCase& test) {
  const auto refusal = refusal_of(test);
  return !refusal || !refusal->starts_with("needs ");
}
bool has_gpu() { return !tests::is_emulated(tests::use_test_device()); }

// The least of everything; odd pictures; edges of tiles and of blocks of k, in either of the two.
constexpr Block kSmall[] = {{1, 1, 1, 16, 16, 8, 1},
                            {2, 5, 3, 48, 80, 40, 2},
                            {1, 9, 7, 64, 64, 72, 1},
                            {3, 7, 5, 144, 16, 136, 2, 1},
                            {1, 12, 12, 16, 208, 264, 2}};
constexpr Block kLarge[] = {{8, 56, 56, 64, 64, 256, 1},
                            {8, 28, 28, 128, 256, 512, 2},
                            {8, 14, 14, 256, 512, 1024, 2},
                            {8, 7, 7, 512, 1024, 2048, 2},
                            {3, 13, 11, 80, 48, 200, 2, 1}};

// In every tile, with and without work behind the sum.
void expect_all_agree(DType dtype) {
  if (!can_run(case_of(dtype, kSmall[0]))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  int turn = 0;
  for (const Block& block : kSmall) {
    KernelCase test = case_of(dtype, block);
    if (turn > 0) test = finished(test, turn == 2 && dtype != kBrain ? kHalf : dtype, turn == 3);
    // All tiles of one with several of them are enough.
    test.only_usual = turn != 3;
    expect_kernel_agrees(test);
    if (testing::Test::HasFailure()) return;
    ++turn;
  }
  for (const Block& block : kLarge) {
    if (has_gpu()) expect_kernel_agrees(finished(case_of(dtype, block), dtype, false));
  }
}

TEST(CudaConvSum, Halves) { expect_all_agree(kHalf); }
TEST(CudaConvSum, Bf16) { expect_all_agree(kBrain); }
TEST(CudaConvSum, Bytes) { expect_all_agree(kBytes); }
TEST(CudaConvSum, Fp8) { expect_all_agree(kFp8); }

// What bench/problems/shortcut_gpu.txt asks to be measured is what kernels of a GPU do: of each block and precision the
// two steps and the one.
TEST(CudaConvSum, ProblemsToMeasure) {
  std::ifstream file(HUSSAR_TESTS "/../bench/problems/shortcut_gpu.txt");
  Target target;
  target.place = Place::kDevice;
  target.sm = 90;
  target.no_fp16 = {};
  int count = 0;
  double apart = 0, together = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    SCOPED_TRACE(line);
    auto problem = parse_problem(line.substr(line.find(": ") + 2));
    ASSERT_TRUE(problem) << problem.error().message;
    const Choice choice = choose(Problem{*problem->node, target});
    ASSERT_NE(choice.rival(), nullptr);
    EXPECT_EQ(choice.tactic()->place, Place::kDevice);
    (is_conv_sum(problem->node->op) ? together : apart) += choice.rival()->predicted;
    if (++count % 3 != 0) continue;
    EXPECT_LT(together, apart);
    apart = together = 0;
  }
  EXPECT_EQ(count, 48);
}

// What it refuses, and why.
TEST(CudaConvSum, Refusals) {
  const KernelCase good = case_of(kHalf, kSmall[1]);
  if (!can_run(good)) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  EXPECT_EQ(refusal_of(good), std::nullopt);
  KernelCase strided = good;
  strided.inputs[0].tensor = random_tensor(kHalf, {2, 48, 9, 5}, -1, 1);
  strided.attributes.set("strides", Ints{2, 2});
  EXPECT_NE(refusal_of(strided), std::nullopt);
  KernelCase wide = case_of(kHalf, {1, 5, 5, 16, 16, 8, 1, 2});
  wide.inputs[4].tensor = random_tensor(kHalf, {8, 16, 3, 3}, -1, 1);
  EXPECT_EQ(refusal_of(wide), "the shortcut is not 1x1");
  KernelCase narrow = case_of(kHalf, {1, 5, 5, 16, 12, 8, 1});
  EXPECT_EQ(refusal_of(narrow), "channels are not multiples of 16 bytes");
}

}  // namespace
}  // namespace hussar
