// The FP16 kernels against the reference evaluators and a sum in double precision. Skipped on machines without
// AVX512-FP16; -DHUSSAR_EMULATE_FP16=ON runs everything but the instructions themselves where there is AVX-512.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/half_packing.h"
#include "backends/cpu/kernels/half/half_product.h"
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

using namespace cpu;

// Outputs of random data with weights of this size have a standard deviation of 1: the tolerance is 4e-3 of a range of
// six of them. (The largest of a million errors is half of that.)
double weight_size(int64_t k) { return 3 / std::sqrt(static_cast<double>(k)); }
constexpr double kTolerance = 2.4e-2;

class Half : public testing::Test {
 protected:
  void SetUp() override {
    if (active_isa() < Isa::kAvx512Fp16) GTEST_SKIP() << "no FP16 arithmetic";
  }
};

KernelCase conv_case(const Shape& input, const Shape& filter, Attributes attributes, int64_t gap) {
  KernelCase test{.kernel = "conv_fp16", .op = "Conv", .inputs = {}, .attributes = std::move(attributes)};
  const double size = weight_size(filter.elements() / filter[0]);
  test.inputs.push_back({random_tensor(DType::kFloat32, input, -1, 1), false, Layout::kChannelsLast, gap});
  test.inputs.push_back({random_tensor(DType::kFloat32, filter, -size, size), true});
  if (pick(0, 1) == 1) test.inputs.push_back({random_tensor(DType::kFloat32, {filter[0]}), true});
  test.output_layout = Layout::kChannelsLast;
  test.output_gap = gap;
  test.tolerance = kTolerance;
  return test;
}

TEST_F(Half, RandomConvolutions) {
  for (int i = 0; i < 80; ++i) {
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

// Channels in whole chunks and not, lines that are gathered at once and one at a time.
TEST_F(Half, FormsOfRows) {
  for (int64_t channels : {1, 3, 31, 32, 33, 64, 96, 160}) {
    expect_kernel_agrees(conv_case({1, channels, 9, 11}, {40, channels, 3, 3}, attributes({{"pads", Ints{1, 1, 1, 1}}}),
                                   channels % 2 == 0 ? 5 : 0));
    expect_kernel_agrees(conv_case({2, channels, 5, 7}, {33, channels, 1, 1}, {}, 0));
    if (HasFatalFailure()) return;
  }
}

TEST_F(Half, OneAndThreeDimensions) {
  expect_kernel_agrees(conv_case({2, 33, 57}, {40, 33, 5}, attributes({{"pads", Ints{2, 2}}}), 0));
  expect_kernel_agrees(conv_case({1, 10, 5, 6, 7}, {35, 10, 3, 2, 3},
                                 attributes({{"pads", Ints{1, 0, 1, 1, 1, 2}}, {"strides", Ints{1, 2, 1}}}), 2));
}

TEST_F(Half, RandomProducts) {
  for (int i = 0; i < 80; ++i) {
    // Around the 128 of k that are summed in FP16, and the 32 of a chunk.
    const int64_t k = pick(0, 2) == 0 ? 128 * pick(1, 5) + pick(-2, 2) : pick(1, 300), n = pick(1, 300);
    const bool transposed = pick(0, 1) == 1;
    KernelCase test{.kernel = "matmul_fp16", .op = transposed ? "com.microsoft.FusedMatMul" : "MatMul", .inputs = {}};
    const Shape a = pick(0, 1) == 1 ? Shape{pick(1, 40), k} : Shape{pick(1, 3), pick(1, 20), k};
    const double size = weight_size(k);
    test.inputs.push_back({random_tensor(DType::kFloat32, a, -1, 1)});
    test.inputs.push_back({random_tensor(DType::kFloat32, transposed ? Shape{n, k} : Shape{k, n}, -size, size), true});
    if (transposed) test.attributes = attributes({{"transB", int64_t{1}}});
    test.tolerance = kTolerance;
    expect_kernel_agrees(test);
    if (HasFatalFailure()) return;
  }
}

// Every number of rows of a tile, with every number of panels.
TEST_F(Half, EveryTile) {
  for (int64_t rows = 1; rows <= 30; ++rows) {
    for (int64_t n : {20, 64, 130}) {
      KernelCase test{.kernel = "matmul_fp16", .op = "MatMul", .inputs = {}};
      test.inputs.push_back({random_tensor(DType::kFloat32, {rows, 67}, -1, 1)});
      test.inputs.push_back({random_tensor(DType::kFloat32, {67, n}, -weight_size(67), weight_size(67)), true});
      test.tolerance = kTolerance;
      expect_kernel_agrees(test);
      if (HasFatalFailure()) return;
    }
  }
}

// Operands of one product with everything that an epilogue can have.
struct Product {
  int64_t rows, k, n, pitch;
  std::vector<float> a, b, bias, residual, scale;
  std::vector<uint16_t> weights;
  Program program{};
  ProgramOperand operands[1];

  Product(int64_t rows, int64_t k, int64_t n) : rows(rows), k(k), n(n), pitch(n + 3) {
    const auto size = static_cast<float>(weight_size(k));
    a = random_floats(static_cast<size_t>(rows * k));
    b = random_floats(static_cast<size_t>(k * n), -size, size);
    bias = random_floats(static_cast<size_t>(n));
    residual = random_floats(static_cast<size_t>(rows * pitch));
    scale = random_floats(static_cast<size_t>(n));
    weights.resize(static_cast<size_t>(half_weight_elements(k, n)));
    pack_half_weights(b.data(), k, n, n, 1, weights.data());
    program.step_count = 1;
    program.operand_count = 1;
    program.steps[0] = {ProgramOp::kMul, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0};
    operands[0] = {scale.data(), 0, 1};
  }

  // One number of shares, all of them, in reverse order. The scratch is NaN before.
  std::vector<float> run(int shares, bool with_program) const {
    std::vector<float> out(static_cast<size_t>(rows * pitch), 12345.0F);
    HalfArgs args;
    args.weights = weights.data();
    ConvArgs& conv = args.conv;
    conv.channels = k, conv.filters = n, conv.in[2] = conv.out[2] = rows;
    conv.input = a.data(), conv.input_pitch = k, conv.output = out.data(), conv.output_pitch = pitch;
    conv.epilogue = {bias.data(),
                     residual.data(),
                     pitch,
                     -0.5F,
                     1.5F,
                     with_program ? &program : nullptr,
                     with_program ? operands : nullptr};
    const auto bytes = static_cast<size_t>(half_scratch_bytes(k));
    EXPECT_EQ(bytes % 64, 0);
    void* scratch = std::aligned_alloc(64, bytes);
    for (int index = shares - 1; index >= 0; --index) {
      std::memset(scratch, 0xff, bytes);
      avx512fp16::run_half_product(args, {index, shares}, scratch);
    }
    std::free(scratch);
    return out;
  }

  double expected(int64_t row, int64_t column, bool with_program) const {
    double sum = bias[static_cast<size_t>(column)] + residual[static_cast<size_t>(row * pitch + column)];
    for (int64_t i = 0; i < k; ++i)
      sum += double(a[static_cast<size_t>(row * k + i)]) * b[static_cast<size_t>(i * n + column)];
    return std::fmin(std::fmax(sum, -0.5), 1.5) * (with_program ? scale[static_cast<size_t>(column)] : 1);
  }
};

TEST_F(Half, EpiloguesAndShares) {
  for (int64_t rows : {1, 2, 5, 17, 300}) {
    for (int64_t n : {32, 50, 128}) {
      const Product product(rows, 275, n);
      for (bool with_program : {false, true}) {
        const std::vector<float> first = product.run(1, with_program);
        for (int shares = 2; shares <= 5; ++shares) {
          const std::vector<float> out = product.run(shares, with_program);
          ASSERT_EQ(std::memcmp(out.data(), first.data(), out.size() * 4), 0) << shares << " shares";
        }
        for (int64_t row = 0; row < rows; ++row) {
          for (int64_t column = 0; column < product.pitch; ++column) {
            const float value = first[static_cast<size_t>(row * product.pitch + column)];
            if (column < n) {
              ASSERT_NEAR(value, product.expected(row, column, with_program), kTolerance) << row << ',' << column;
            } else {
              ASSERT_EQ(value, 12345.0F) << "wrote beyond the row";
            }
          }
        }
      }
    }
  }
}

// The figure that docs/decisions.md gives: the largest error of a long sum, of the range of the outputs.
TEST_F(Half, AccuracyOfLongSums) {
  for (int64_t k : {128, 1152, 4608}) {
    const int64_t rows = 60, n = 64;
    const std::vector<float> a = random_floats(static_cast<size_t>(rows * k)),
                             b = random_floats(static_cast<size_t>(k * n));
    std::vector<float> out(static_cast<size_t>(rows * n));
    std::vector<uint16_t> weights(static_cast<size_t>(half_weight_elements(k, n)));
    pack_half_weights(b.data(), k, n, n, 1, weights.data());
    HalfArgs args;
    args.weights = weights.data();
    ConvArgs& conv = args.conv;
    conv.channels = k, conv.filters = n, conv.in[2] = conv.out[2] = rows;
    conv.input = a.data(), conv.input_pitch = k, conv.output = out.data(), conv.output_pitch = n;
    void* scratch = std::aligned_alloc(64, static_cast<size_t>(half_scratch_bytes(k)));
    avx512fp16::run_half_product(args, {0, 1}, scratch);
    std::free(scratch);
    double low = INFINITY, high = -INFINITY, error = 0;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < n; ++column) {
        double sum = 0;
        for (int64_t i = 0; i < k; ++i)
          sum += double(a[static_cast<size_t>(row * k + i)]) * b[static_cast<size_t>(i * n + column)];
        low = std::fmin(low, sum), high = std::fmax(high, sum);
        error = std::fmax(error, std::fabs(sum - out[static_cast<size_t>(row * n + column)]));
      }
    }
    EXPECT_LT(error / (high - low), 2e-3) << "k " << k;
    RecordProperty("k" + std::to_string(k), std::to_string(error / (high - low)));
  }
}

// What FP16 cannot hold is infinite, and says so by the step's name in the self-check; NaN stays NaN.
TEST_F(Half, BeyondTheRange) {
  const Product product(3, 40, 33);
  Product broken = product;
  broken.a[0] = 1e6F;
  broken.a[static_cast<size_t>(product.k)] = NAN;
  for (float& x : broken.b) x = std::fabs(x) + 0.1F;
  pack_half_weights(broken.b.data(), broken.k, broken.n, broken.n, 1, broken.weights.data());
  const std::vector<float> out = broken.run(1, false);
  for (int64_t column = 0; column < product.n; ++column) {
    EXPECT_EQ(out[static_cast<size_t>(column)], 1.5F) << "infinity, clamped";
    EXPECT_TRUE(std::isnan(out[static_cast<size_t>(product.pitch + column)]));
    EXPECT_TRUE(std::isfinite(out[static_cast<size_t>(2 * product.pitch + column)]));
  }
}

TEST_F(Half, RefusesWeightsThatFp16CannotHold) {
  KernelCase test{.kernel = "matmul_fp16", .op = "MatMul", .inputs = {}};
  test.inputs.push_back({random_tensor(DType::kFloat32, {3, 8}, -1, 1)});
  test.inputs.push_back({random_tensor(DType::kFloat32, {8, 5}, -1, 1), true});
  EXPECT_EQ(refusal_of(test), std::nullopt);
  float* const weights = test.inputs[1].tensor.data<float>();
  weights[7] = 65504;
  EXPECT_EQ(refusal_of(test), std::nullopt);
  for (float large : {65505.0F, -1e9F, INFINITY, NAN}) {
    weights[7] = large;
    EXPECT_EQ(refusal_of(test), "a weight is beyond the range of FP16") << large;
  }
  for (int i = 0; i < 40; ++i) weights[i] = i < 10 ? 0.0F : i < 25 ? 1.0F : 5e-5F;
  EXPECT_EQ(refusal_of(test), std::nullopt);
  weights[24] = 6e-5F;
  EXPECT_EQ(refusal_of(test), "most weights are subnormal in FP16");
}

}  // namespace
}  // namespace hussar
