// The matrix unit's convolutions and products against the reference evaluators and a sum in double precision. Skipped
// on machines without AMX; -DHUSSAR_EMULATE_AMX=ON runs everything but the instructions themselves where there is
// AVX512_BF16.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/kernels/amx/matrix_product.h"
#include "backends/cpu/matrix_packing.h"
#include "tensor/convert.h"
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

using namespace cpu;

// Of two parts products are off by up to 3 x 2^-18 of themselves; operands are below 1 here. With one part, BF16,
// operands are numbers that it holds: their products are exact.
double tolerance(int64_t k, int64_t parts) {
  return parts > 1 ? 2e-6 + 1.2e-5 * static_cast<double>(k) : 1e-6 + 4e-7 * static_cast<double>(k);
}

std::vector<float> operands_for(int64_t parts, std::vector<float> x) {
  for (float& value : x) value = parts > 1 ? value : bfloat16_to_float(float_to_bfloat16(value));
  return x;
}
Tensor operand(const Shape& shape, int64_t parts) {
  Tensor tensor = random_tensor(DType::kFloat32, shape, -1, 1);
  auto* x = tensor.data<float>();
  for (int64_t i = 0; i < tensor.elements(); ++i) x[i] = parts > 1 ? x[i] : bfloat16_to_float(float_to_bfloat16(x[i]));
  return tensor;
}

class MatrixUnit : public testing::Test {
 protected:
  void SetUp() override {
    if (active_isa() < Isa::kAmx) GTEST_SKIP() << "no matrix unit";
  }
};

void expect_conv_agrees(const Shape& input, const Shape& filter, const Attributes& attributes, int64_t gap,
                        int64_t parts) {
  KernelCase test{
      .kernel = parts > 1 ? "conv_amx" : "conv_amx_bf16", .op = "Conv", .inputs = {}, .attributes = attributes};
  test.inputs.push_back({operand(input, parts), false, Layout::kChannelsLast, gap});
  test.inputs.push_back({operand(filter, parts), true});
  if (pick(0, 1) == 1) test.inputs.push_back({random_tensor(DType::kFloat32, {filter[0]}), true});
  test.output_layout = Layout::kChannelsLast;
  test.output_gap = gap;
  test.tolerance = tolerance(filter.elements() / filter[0], parts);
  expect_kernel_agrees(test);
}

TEST_F(MatrixUnit, RandomConvolutions) {
  for (int i = 0; i < 100; ++i) {
    const int64_t groups = pick(0, 3) == 0 ? pick(2, 3) : 1, channels = pick(1, 70), filters = pick(1, 70);
    const int64_t kernel_y = pick(1, 4), kernel_x = pick(1, 4), stride = pick(1, 3);
    const int64_t dilation = stride == 1 ? pick(1, 2) : 1, pad = pick(0, 2);
    const int64_t height = pick((kernel_y - 1) * dilation + 1, 24), width = pick((kernel_x - 1) * dilation + 1, 24);
    expect_conv_agrees({pick(1, 3), groups * channels, height, width}, {groups * filters, channels, kernel_y, kernel_x},
                       attributes({{"group", groups},
                                   {"strides", Ints{stride, pick(1, 3) == 1 ? 1 : stride}},
                                   {"dilations", Ints{dilation, dilation}},
                                   {"pads", Ints{pad, pick(0, 2), pick(0, 2), pad}}}),
                       pick(0, 1) * 3, 1 + i % 2);
    if (HasFatalFailure()) return;
  }
}

TEST_F(MatrixUnit, OneDimensionAndManyBands) {
  for (int64_t parts : {1, 2}) {
    expect_conv_agrees({2, 33, 517}, {40, 33, 5}, attributes({{"pads", Ints{2, 2}}}), 0, parts);
    expect_conv_agrees({1, 64, 60, 61}, {48, 64, 3, 3}, attributes({{"pads", Ints{1, 1, 1, 1}}}), 0, parts);
    expect_conv_agrees({1, 600, 41, 37}, {33, 600, 1, 1}, {}, 8, parts);
  }
}

TEST_F(MatrixUnit, RandomProducts) {
  for (int i = 0; i < 100; ++i) {
    const int64_t parts = 1 + i % 2;
    const int64_t k = pick(1, 300), n = pick(1, 150);
    const bool transposed = pick(0, 1) == 1;
    KernelCase test{.kernel = parts > 1 ? "matmul_amx" : "matmul_amx_bf16",
                    .op = transposed ? "com.microsoft.FusedMatMul" : "MatMul",
                    .inputs = {}};
    const Shape a = pick(0, 1) == 1 ? Shape{pick(1, 70), k} : Shape{pick(1, 3), pick(1, 40), k};
    test.inputs.push_back({operand(a, parts)});
    test.inputs.push_back({operand(transposed ? Shape{n, k} : Shape{k, n}, parts), true});
    if (transposed) test.attributes = attributes({{"transB", int64_t{1}}});
    test.tolerance = tolerance(k, parts);
    expect_kernel_agrees(test);
    if (HasFatalFailure()) return;
  }
}

// Bias, residual, clamp and a program, and the promise that the number of shares does not change a bit.
TEST_F(MatrixUnit, EpiloguesAndShares) {
  for (int64_t run = 0; run < 6; ++run) {
    const int64_t rows = run < 2 ? 1 : run < 4 ? 17 : 300, parts = 1 + run % 2;
    const int64_t k = 75, n = 50, pitch = n + 3;
    const std::vector<float> a = operands_for(parts, random_floats(rows * k)),
                             b = operands_for(parts, random_floats(k * n)), bias = random_floats(n);
    const std::vector<float> residual = random_floats(rows * pitch), scale = random_floats(n);
    std::vector<uint16_t> weights(matrix_weight_elements(1, k, n, parts) + 32);
    uint16_t* const packed = weights.data() + (64 - reinterpret_cast<uintptr_t>(weights.data()) % 64) % 64 / 2;
    pack_matrix_weights(b.data(), 1, k, n, n, 1, parts, packed);
    Program program{};
    program.step_count = 1;
    program.operand_count = 1;
    program.steps[0] = {ProgramOp::kMul, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0};
    const ProgramOperand operands[1] = {{scale.data(), 0, 1}};
    MatrixArgs args;
    args.weights = packed;
    args.parts = parts;
    ConvArgs& conv = args.conv;
    conv.channels = k, conv.filters = n, conv.in[2] = conv.out[2] = rows;
    conv.input = a.data(), conv.input_pitch = k, conv.output_pitch = pitch;
    conv.epilogue = {bias.data(), residual.data(), pitch, -0.5F, 1.5F, &program, operands};
    std::vector<float> first;
    for (int shares = 1; shares <= 4; ++shares) {
      std::vector<float> out(rows * pitch, 12345.0F);
      conv.output = out.data();
      const auto bytes = static_cast<size_t>((matrix_scratch_bytes(conv, parts) + 63) / 64 * 64);
      void* scratch = std::aligned_alloc(64, bytes);
      std::memset(scratch, 0xff, bytes);
      for (int index = shares - 1; index >= 0; --index) amx::run_matrix_product(args, {index, shares}, scratch);
      std::free(scratch);
      if (shares == 1) first = out;
      ASSERT_EQ(std::memcmp(out.data(), first.data(), out.size() * 4), 0) << shares << " shares";
    }
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < pitch; ++column) {
        const float value = first[row * pitch + column];
        if (column >= n) {
          ASSERT_EQ(value, 12345.0F) << "wrote beyond the row";
          continue;
        }
        double sum = bias[column] + residual[row * pitch + column];
        for (int64_t i = 0; i < k; ++i) sum += double(a[row * k + i]) * b[i * n + column];
        ASSERT_NEAR(value, std::fmin(std::fmax(sum, -0.5), 1.5) * scale[column], tolerance(k, parts))
            << row << ',' << column;
      }
    }
  }
}

}  // namespace
}  // namespace hussar
