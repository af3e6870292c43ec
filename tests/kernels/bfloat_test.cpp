// The BF16 kernels against the reference evaluators. Operands that BF16 holds exactly make exact products, so results
// are held to what FP32 sums in another order may differ by; a last test takes any operands and the error that rounding
// them makes. Skipped on machines without AVX512-BF16.
#include <gtest/gtest.h>

#include <cmath>

#include "backends/cpu/isa.h"
#include "tensor/convert.h"
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

using namespace cpu;

class Bfloat : public testing::Test {
 protected:
  void SetUp() override {
    if (active_isa() < Isa::kAvx512 || !has_avx512_bf16()) GTEST_SKIP() << "no BF16 arithmetic";
  }
};

Tensor rounded(Tensor tensor) {
  auto* x = tensor.data<float>();
  for (int64_t i = 0; i < tensor.elements(); ++i) x[i] = bfloat16_to_float(float_to_bfloat16(x[i]));
  return tensor;
}

double tolerance_of(int64_t k) { return 1e-6 + 4e-7 * static_cast<double>(k); }

KernelCase conv_case(const Shape& input, const Shape& filter, Attributes attributes, int64_t gap) {
  KernelCase test{.kernel = "conv_bf16", .op = "Conv", .inputs = {}, .attributes = std::move(attributes)};
  test.inputs.push_back({rounded(random_tensor(DType::kFloat32, input, -1, 1)), false, Layout::kChannelsLast, gap});
  test.inputs.push_back({rounded(random_tensor(DType::kFloat32, filter, -1, 1)), true});
  if (pick(0, 1) == 1) test.inputs.push_back({random_tensor(DType::kFloat32, {filter[0]}), true});
  test.output_layout = Layout::kChannelsLast;
  test.output_gap = gap;
  test.tolerance = tolerance_of(filter.elements(1, filter.rank()));
  return test;
}

KernelCase matmul_case(const Shape& a, int64_t n, bool transposed) {
  const int64_t k = a[a.rank() - 1];
  KernelCase test{.kernel = "matmul_bf16", .op = transposed ? "com.microsoft.FusedMatMul" : "MatMul", .inputs = {}};
  test.inputs.push_back({rounded(random_tensor(DType::kFloat32, a, -1, 1))});
  test.inputs.push_back({rounded(random_tensor(DType::kFloat32, transposed ? Shape{n, k} : Shape{k, n}, -1, 1)), true});
  if (transposed) test.attributes = attributes({{"transB", int64_t{1}}});
  test.tolerance = tolerance_of(k);
  return test;
}

TEST_F(Bfloat, RandomConvolutions) {
  for (int i = 0; i < 60; ++i) {
    const int64_t groups = pick(0, 3) == 0 ? pick(2, 3) : 1, channels = pick(1, 70), filters = pick(1, 150);
    const int64_t kernel_y = pick(1, 4), kernel_x = pick(1, 4), stride = pick(1, 3), dilation = pick(1, 2);
    const int64_t height = pick((kernel_y - 1) * dilation + 1, 16), width = pick((kernel_x - 1) * dilation + 1, 16);
    expect_kernel_agrees(conv_case({pick(1, 3), groups * channels, height, width},
                                   {groups * filters, channels, kernel_y, kernel_x},
                                   attributes({{"group", groups},
                                               {"strides", Ints{stride, pick(1, 3) == 1 ? 1 : stride}},
                                               {"dilations", Ints{dilation, pick(1, 2)}},
                                               {"pads", Ints{pick(0, 2), pick(0, 2), pick(0, 2), pick(2, 4)}}}),
                                   pick(0, 1) * 3));
    if (HasFatalFailure()) return;
  }
}

// Channels in whole chunks and not, lines that are gathered at once and one at a time; one and three dimensions.
TEST_F(Bfloat, FormsOfRows) {
  for (int64_t channels : {1, 3, 31, 32, 33, 64, 96, 160}) {
    expect_kernel_agrees(conv_case({1, channels, 9, 11}, {40, channels, 3, 3}, attributes({{"pads", Ints{1, 1, 1, 1}}}),
                                   channels % 2 == 0 ? 5 : 0));
    expect_kernel_agrees(conv_case({2, channels, 5, 7}, {33, channels, 1, 1}, {}, 0));
    if (HasFatalFailure()) return;
  }
  expect_kernel_agrees(conv_case({2, 33, 57}, {40, 33, 5}, attributes({{"pads", Ints{2, 2}}}), 0));
  expect_kernel_agrees(conv_case({1, 10, 5, 6, 7}, {35, 10, 3, 2, 3},
                                 attributes({{"pads", Ints{1, 0, 1, 1, 1, 2}}, {"strides", Ints{1, 2, 1}}}), 2));
}

TEST_F(Bfloat, RandomProducts) {
  for (int i = 0; i < 60; ++i) {
    const int64_t k = pick(0, 1) == 0 ? 32 * pick(1, 20) + pick(-2, 2) : pick(1, 300);
    expect_kernel_agrees(matmul_case(pick(0, 1) == 1 ? Shape{pick(1, 40), k} : Shape{pick(1, 3), pick(1, 20), k},
                                     pick(1, 300), pick(0, 1) == 1));
    if (HasFatalFailure()) return;
  }
}

// Every number of rows of a tile, with every number of panels, the last of them whole, half or partly wanted.
TEST_F(Bfloat, EveryTile) {
  for (int64_t rows = 1; rows <= 30; ++rows) {
    for (int64_t n : {5, 8, 16, 20, 24, 64, 130}) {
      expect_kernel_agrees(matmul_case({rows, 67}, n, false));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(Bfloat, Epilogues) {
  for (int64_t rows : {3, 17, 150}) {
    for (int64_t filters : {8, 40, 96}) {
      KernelCase test = conv_case({1, 64, 1, rows}, {filters, 64, 1, 1}, {}, 0);
      test.inputs.resize(3);
      test.program_inputs = 3;
      test.program = Program{};
      test.program->step_count = 2;
      test.program->operand_count = 1;
      test.program->steps[0] = {ProgramOp::kAdd, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0};
      test.program->steps[1] = {
          pick(0, 1) == 1 ? ProgramOp::kHardSwish : ProgramOp::kGeluErf, 0, 0, ProgramSource::kConstant, 0, {}, 0, 0};
      test.inputs.push_back(
          {random_tensor(DType::kFloat32, {1, filters, 1, rows}, -1, 1), false, Layout::kChannelsLast});
      expect_kernel_agrees(test);
      if (HasFatalFailure()) return;
    }
  }
}

// Operands of any kind: each is rounded by up to 2^-9 of itself, so that a sum of k products of numbers below 1 has an
// error of about sqrt(k) * 2^-9 * sqrt(2) / 3, and six times as much never.
TEST_F(Bfloat, RoundedOperands) {
  for (int64_t k : {64, 577, 2304}) {
    KernelCase test = matmul_case({40, k}, 70, false);
    for (Argument& argument : test.inputs)
      argument.tensor = random_tensor(DType::kFloat32, argument.tensor.shape(), -1, 1);
    test.tolerance = 6 * std::sqrt(static_cast<double>(k)) * std::exp2(-9) * std::sqrt(2.0) / 3;
    expect_kernel_agrees(test);
  }
}

}  // namespace
}  // namespace hussar
