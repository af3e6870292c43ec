// CUDA kernels for INT8 whose scales are found when the model runs, for each row or, as ONNX has it, for a tensor:
// bytes are made of numbers, and multiplied by weights. Everything but a fused program has to be what the reference
// has, bit for bit.
#include <array>
#include <cmath>

#include "backends/cuda/byte_product.h"
#include "tensor/convert.h"
#include "tests/kernels/kernel_case.h"
#include "tests/kernels/sparse_case.h"
#include "tests/support/emulated_device.h"

namespace hussar {
namespace {

using cuda::RunScales;

constexpr DType kHalf = DType::kFloat16, kBrain = DType::kBFloat16, kFloat = DType::kFloat32;

bool has_gpu() { return !tests::is_emulated(tests::use_test_device()); }

bool can_run(const KernelCase& test) {
  const auto refusal = refusal_of(test);
  return !refusal || !refusal->starts_with("needs ");
}

// ---- bytes of rows

// Rows of very different sizes, some of zeros, and some that are no numbers.
Tensor uneven_rows(DType dtype, const Shape& shape) {
  Tensor x = random_tensor(kFloat, shape);
  const int64_t length = shape[shape.rank() - 1], rows = length == 0 ? 0 : x.elements() / length;
  const bool is_wide = dtype != kHalf;
  for (int64_t row = 0; row < rows; ++row) {
    float* const of_row = x.data<float>() + row * length;
    const float factors[] = {1, 1e-3F, 100, 0, is_wide ? 1e-25F : 1e-4F, is_wide ? 1e25F : 1e4F};
    for (int64_t i = 0; i < length; ++i) of_row[i] *= factors[row % 6];
    if (row % 11 == 7) of_row[length / 2] = NAN;
    if (row % 11 == 9) of_row[length - 1] = -INFINITY;
    if (row % 11 == 10 && is_wide) of_row[0] = 1e-32F;
  }
  return dtype == kFloat ? x : converted(x, dtype);
}

void expect_rows_agree(DType dtype, const Shape& shape) {
  KernelCase test{"cuda_quantize_rows", "hussar.QuantizeRows", {{uneven_rows(dtype, shape)}}};
  test.outputs = 2;
  expect_kernel_agrees(test);
}

TEST(CudaQuantizeRows, AreThoseOfTheReference) {
  for (int64_t length : {1, 3, 5, 32, 65, 96, 768, 1024, 1025, 3072, 4096, 9000}) {
    for (DType dtype : {kFloat, kHalf, kBrain}) {
      expect_rows_agree(dtype, {2, pick(1, 13), length});
      if (HasFailure()) return;
    }
  }
  expect_rows_agree(kFloat, {77});
  expect_rows_agree(kHalf, {0, 16});
  expect_rows_agree(kFloat, {3000, 8});  // more rows than one for each warp of a few blocks
}

TEST(CudaQuantizeRows, LeaveOutRowsThatNobodyNeeds) {
  KernelCase test{"cuda_quantize_rows", "hussar.QuantizeRows", {{uneven_rows(kHalf, {40, 64})}}};
  test.outputs = 2;
  test.needed_rows = 17, test.all_rows = 40;
  expect_kernel_agrees(test);
}

// Large and small ones, all of one sign, none, and those that are no numbers.
TEST(CudaDynamicQuantize, IsThatOfOnnx) {
  for (int64_t count : {0, 1, 3, 4, 255, 1024, 1027, 5000, 300000}) {
    for (const auto& [low, high] : {std::pair{-2.0, 3.0}, {0.5, 1e5}, {-7e-6, -1e-6}, {0.0, 0.0}}) {
      KernelCase test{"cuda_dynamic_quantize", "DynamicQuantizeLinear", {{random_tensor(kFloat, {count}, low, high)}}};
      test.outputs = 3;
      if (count > 4 && pick(0, 3) == 0) test.inputs[0].tensor.data<float>()[pick(0, count - 1)] = NAN;
      if (count > 4 && pick(0, 5) == 0) test.inputs[0].tensor.data<float>()[pick(0, count - 1)] = INFINITY;
      expect_kernel_agrees(test);
      if (HasFailure()) return;
      if (count > 5000) break;
    }
  }
  KernelCase image{"cuda_dynamic_quantize", "DynamicQuantizeLinear", {{random_tensor(kFloat, {2, 5, 3, 7})}}};
  image.inputs[0].layout = image.output_layout = Layout::kChannelsLast;
  image.outputs = 1;
  expect_kernel_agrees(image);
}

// With and without a bias, and the numbers beside the bytes.
TEST(CudaNormToRows, AgreesWithTheReference) {
  for (int64_t length : {1, 5, 65, 768, 1024, 1025, 9000}) {
    for (DType dtype : {kFloat, kHalf, kBrain}) {
      const Shape shape{2, pick(1, 5), length};
      KernelCase test{"cuda_norm", "hussar.NormToRows", {{random_tensor(dtype, shape, -1, 3)}}};
      for (int64_t i = pick(1, 2); i > 0; --i) test.inputs.push_back({random_tensor(dtype, {length})});
      test.attributes = attributes({{"epsilon", 1e-2F}, {"center", pick(0, 1)}});
      test.outputs = static_cast<size_t>(pick(2, 3));
      test.tolerance = dtype == kFloat ? 2e-5 : dtype == kHalf ? 3e-3 : 2e-2;
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

// ---- products

// Of rows that have scales from 0 to 0.02, one of which is NaN if there are many.
KernelCase product_of(const char* kernel, const Shape& x, int64_t n, int sm) {
  const int64_t k = x[x.rank() - 1];
  KernelCase test{kernel, "hussar.QuantizedMatMul", {}};
  test.emulated_sm = sm;
  Ints rows(x.dims().begin(), x.dims().end());
  rows.back() = 1;
  Tensor scales = random_tensor(kFloat, Shape(rows), 0, 0.02);
  if (scales.elements() > 5) scales.data<float>()[3] = 0, scales.data<float>()[5] = NAN;
  const double unit = 1 / (70.0 * 70.0 * std::sqrt(static_cast<double>(k)));
  test.inputs = {{random_tensor(DType::kInt8, x, -127, 127)},
                 {random_tensor(DType::kInt8, {k, n}, -128, 127), true},
                 {random_tensor(kFloat, {n}, 100 * unit, 200 * unit), true},
                 {},
                 {scales}};
  if (pick(0, 1) == 1) test.inputs[3] = {random_tensor(kFloat, {n}, -1, 1), true};
  return test;
}

// Adds a residual and takes the positive part; results are of its type.
KernelCase finished(KernelCase test, const Shape& output, DType dtype) {
  Program program{};
  program.operand_count = 1;
  program.step_count = 2;
  program.steps[0].op = ProgramOp::kAdd;
  program.steps[0].source = ProgramSource::kOperand;
  program.steps[1].op = ProgramOp::kRelu;
  test.program = program;
  test.program_inputs = static_cast<int32_t>(test.inputs.size());
  test.inputs.push_back({random_tensor(dtype, output, -1, 1)});
  test.tolerance = dtype == kFloat ? 1e-5 : dtype == kHalf ? 2e-3 : 1.6e-2;
  if (dtype != kFloat) test.attributes.set("y_type", static_cast<int64_t>(dtype));
  return test;
}

// The same with one scale and one zero point for all.
KernelCase with_one_scale(KernelCase test) {
  const Shape one = pick(0, 1) == 0 ? Shape{} : Shape{1};
  test.inputs[0].tensor = random_tensor(DType::kUInt8, test.inputs[0].tensor.shape(), 0, 255);
  test.inputs[4].tensor = random_tensor(kFloat, one, 0.001, 0.02);
  test.inputs.push_back({random_tensor(DType::kUInt8, one, 0, 255)});
  return test;
}

KernelCase thinned(KernelCase test, int64_t width) {
  Tensor& weights = test.inputs[1].tensor;
  make_sparse(view_weights(weights.data<int8_t>(), weights.shape(), WeightForm::kMatrix), width);
  return test;
}

using Sizes = std::array<int64_t, 3>;

// Floats, and halves with a residual; BF16 once. Every text takes a second or two to compile, so that only one size is
// multiplied in every tile.
void expect_products_agree(RunScales kind, const char* kernel, int sm, bool sparse, const std::vector<Sizes>& sizes) {
  int64_t width = 1;
  for (const Sizes& size : sizes) {
    const auto& [m, n, k] = size;
    for (DType dtype : {DType::kUndefined, kHalf, kBrain}) {
      if (dtype == kBrain && size != sizes[0]) continue;
      KernelCase test = product_of(kernel, {m, k}, n, sm);
      if (sparse) test = thinned(test, width);
      if (kind == RunScales::kTensor) test = with_one_scale(test);
      if (dtype != DType::kUndefined) test = finished(test, {m, n}, dtype);
      test.only_usual = dtype != kHalf || kind != RunScales::kRows || size != Sizes{70, 72, 272};
      expect_kernel_agrees(test);
      if (testing::Test::HasFailure()) return;
    }
    width = 65 - width;
  }
}

const std::vector<Sizes> kSmall = {{1, 8, 16}, {70, 72, 272}, {260, 136, 400}};
// What does not end in a few seconds on an emulated GPU; of the third, blocks walk several tiles.
const std::vector<Sizes> kLarge = {{515, 1000, 1040}, {128, 1024, 4096}, {4096, 1024, 144}};

class CudaRunScales : public testing::TestWithParam<RunScales> {};

TEST_P(CudaRunScales, SimpleProducts) {
  expect_products_agree(GetParam(), "cuda_matmul_simple", 0, false,
                        {{3, 7, 5}, {70, 65, 130}, {1, 8, 33}, {129, 1, 16}});
}

TEST_P(CudaRunScales, WarpProducts) {
  if (!can_run(product_of("cuda_product", {8, 16}, 8, 80))) GTEST_SKIP() << "skipped: needs a GPU with tensor cores";
  expect_products_agree(GetParam(), "cuda_product", 80, false, kSmall);
  expect_products_agree(GetParam(), "cuda_product_sparse_ampere", 80, true, kSmall);
}

TEST_P(CudaRunScales, HopperProducts) {
  if (!can_run(product_of("cuda_product_hopper", {8, 16}, 8, 90))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  expect_products_agree(GetParam(), "cuda_product_hopper", 90, false, kSmall);
  expect_products_agree(GetParam(), "cuda_product_sparse", 90, true, kSmall);
}

TEST_P(CudaRunScales, LargeProducts) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: needs a GPU (HUSSAR_TEST_GPU=1)";
  for (const char* kernel : {"cuda_product", "cuda_product_hopper"}) {
    if (can_run(product_of(kernel, {8, 16}, 8, 0))) expect_products_agree(GetParam(), kernel, 0, false, kLarge);
  }
  for (const char* kernel : {"cuda_product_sparse_ampere", "cuda_product_sparse"}) {
    if (can_run(thinned(product_of(kernel, {8, 16}, 8, 0), 1)))
      expect_products_agree(GetParam(), kernel, 0, true, kLarge);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, CudaRunScales, testing::Values(RunScales::kRows, RunScales::kTensor),
                         [](const auto& info) { return info.param == RunScales::kRows ? "Rows" : "Tensor"; });

// Batches are rows; rows that nobody needs.
TEST(CudaRowScales, Forms) {
  for (const auto& [kernel, sm] :
       {std::pair{"cuda_matmul_simple", 0}, {"cuda_product", 80}, {"cuda_product_hopper", 90}}) {
    if (!can_run(product_of(kernel, {8, 16}, 8, sm))) continue;
    KernelCase batch = finished(product_of(kernel, {3, 40, 144}, 40, sm), {3, 40, 40}, kHalf);
    batch.only_usual = true;
    expect_kernel_agrees(batch);
    KernelCase list = product_of(kernel, {48}, 8, sm);
    list.only_usual = true;
    expect_kernel_agrees(list);
    if (sm == 0) continue;
    KernelCase some = product_of(kernel, {200, 80}, 72, sm);
    some.only_usual = true;
    some.needed_rows = 70, some.all_rows = 200;
    expect_kernel_agrees(some);
  }
}

// ---- products of two activations

Tensor bytes_of(DType dtype, const Shape& shape) {
  return dtype == DType::kUInt8 ? random_tensor(dtype, shape, 0, 255) : random_tensor(dtype, shape, -128, 127);
}

KernelCase integer_product(const Shape& a, const Shape& b) {
  const DType types[] = {DType::kUInt8, DType::kInt8};
  const DType left = types[pick(0, 1)], right = types[pick(0, 1)];
  KernelCase test{"cuda_matmul_simple", "hussar.IntegerMatMul", {{bytes_of(left, a)}, {bytes_of(right, b)}, {}, {}}};
  if (pick(0, 2) > 0) test.inputs[2] = {bytes_of(left, {})};
  if (pick(0, 2) > 0) test.inputs[3] = {bytes_of(right, {1}), pick(0, 1) == 1};
  return test;
}

// Sums are exact; a scale and a mask come behind them, and perhaps bytes.
TEST(CudaIntegerProducts, AreExact) {
  const std::array<std::array<Shape, 3>, 5> shapes = {{{Shape{3, 7}, {7, 5}, {3, 5}},
                                                       {Shape{70, 130}, {130, 65}, {70, 65}},
                                                       {Shape{2, 3, 9, 16}, {2, 3, 16, 33}, {2, 3, 9, 33}},
                                                       {Shape{4, 5, 8}, {8, 6}, {4, 5, 6}},
                                                       {Shape{1, 600}, {600, 1}, {1, 1}}}};
  for (const auto& [a, b, y] : shapes) {
    expect_kernel_agrees(integer_product(a, b));
    KernelCase test = integer_product(a, b);
    test.program = Program{};
    test.program->operand_count = 2;
    test.program->step_count = 2;
    test.program->steps[0] = {ProgramOp::kMul, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0};
    test.program->steps[1] = {ProgramOp::kAdd, 0, 0, ProgramSource::kOperand, 1, {}, 0, 0};
    test.program_inputs = 4;
    test.inputs.push_back({random_tensor(kFloat, {}, 0.001, 0.002)});
    test.inputs.push_back({random_tensor(kFloat, y)});
    test.tolerance = 1e-5;
    expect_kernel_agrees(test);
    test.attributes.set("y_scale", 0.7F);
    test.attributes.set("y_zero_point", pick(0, 255));
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

// Padding would be a zero point that only the run tells.
TEST(CudaRowScales, ConvolutionsAreRefused) {
  KernelCase conv{"cuda_conv_simple",
                  "hussar.QuantizedConv",
                  {{random_tensor(DType::kUInt8, {1, 4, 5, 5}, 0, 255)},
                   {random_tensor(DType::kInt8, {8, 4, 3, 3}, -9, 9), true},
                   {random_tensor(kFloat, {8}, 1, 2), true},
                   {},
                   {random_tensor(kFloat, Shape{}, 1, 2)},
                   {random_tensor(DType::kUInt8, Shape{}, 0, 255)}}};
  EXPECT_EQ(refusal_of(conv), "scale of the input is known in a run only");
}

}  // namespace
}  // namespace hussar
