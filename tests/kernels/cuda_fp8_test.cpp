// CUDA kernels that read and write FP8 (float8e4m3fn), against the reference: those without tensor cores on any device,
// the others on a GPU that has them.
#include <array>
#include <cmath>

#include "backends/cuda/sparse_weights.h"
#include "tensor/convert.h"
#include "tensor/float8_mask.h"
#include "tests/kernels/kernel_case.h"
#include "tests/kernels/sparse_case.h"

namespace hussar {
namespace {

constexpr DType kHalf = DType::kFloat16, kBFloat = DType::kBFloat16, kFloat = DType::kFloat32,
                kFp8 = DType::kFloat8E4M3FN;

// Whole numbers. Their products and the sums of up to 4096 of them are less than 2^13: nothing that tensor cores drop
// is in them, and what is computed must be what the reference computes.
constexpr double kWhole = 4, kProductOfWhole = 20.0 / 3;
// Of products of numbers that are as likely as others up to the largest one.
constexpr double kLargest = 448, kProductOfLargest = kLargest * kLargest / 3;

Tensor whole_numbers(const Shape& shape) {
  return converted(random_tensor(DType::kInt8, shape, -kWhole, kWhole), kFp8);
}

// Factors that make sums of `depth` products about one.
Argument factors(int64_t columns, int64_t depth, double product) {
  const double unit = 1 / (product * std::sqrt(static_cast<double>(depth)));
  return {random_tensor(kFloat, {columns}, 100 * unit, 200 * unit), true};
}

KernelCase product_case(const char* kernel, int64_t m, int64_t n, int64_t k) {
  KernelCase test{kernel,
                  "hussar.QuantizedMatMul",
                  {{whole_numbers({m, k})}, {whole_numbers({k, n}), true}, factors(n, k, kProductOfWhole)}};
  if (pick(0, 1) == 1) test.inputs.push_back({random_tensor(kFloat, {n}, -1, 1), true});
  test.attributes.set("x_scale", 0.01F);
  test.tolerance = 1e-5;
  return test;
}

bool can_run(const KernelCase& test) {
  const auto refusal = refusal_of(test);
  return !refusal || !refusal->starts_with("needs ");
}

void add_residual(KernelCase& test, const Shape& output, DType dtype) {
  Program program{};
  program.operand_count = 1;
  program.step_count = 2;
  program.steps[0].op = ProgramOp::kAdd;
  program.steps[0].source = ProgramSource::kOperand;
  program.steps[1].op = ProgramOp::kRelu;
  test.program = program;
  while (test.inputs.size() < 4) test.inputs.emplace_back();
  test.program_inputs = static_cast<int32_t>(test.inputs.size());
  const double largest = dtype == kFp8 ? kLargest : 1;
  test.inputs.push_back({random_tensor(dtype, output, -largest, largest), false, test.output_layout});
  if (dtype == kFp8) test.attributes.set("operand_scale", 0.005F);
}

void write_fp8(KernelCase& test, float scale) {
  test.attributes.set("y_scale", scale);
  test.attributes.set("y_type", static_cast<int64_t>(kFp8));
}

// Perhaps with a residual; floats, halves or FP8 are what is written. Some of it is larger than FP8 reaches.
void finish(KernelCase& test, const Shape& output) {
  const int64_t residual = pick(0, 3);
  const DType half = pick(0, 1) == 1 ? kHalf : kBFloat;
  if (residual > 0) add_residual(test, output, residual == 1 ? kFloat : residual == 2 ? half : kFp8);
  // Who adds halves does not give floats.
  const int64_t type = pick(residual == 2 ? 1 : 0, 2);
  if (type == 1) {
    test.attributes.set("y_type", static_cast<int64_t>(half));
    test.tolerance = half == kHalf ? 2e-3 : 1.6e-2;
  } else if (type == 2) {
    write_fp8(test, 0.005F);
  }
}

void expect_products_agree(const char* kernel, int64_t m, int64_t n, int64_t k) {
  KernelCase test = product_case(kernel, m, n, k);
  finish(test, {m, n});
  expect_kernel_agrees(test);
}

TEST(CudaFp8, SimpleProducts) {
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{3, 7, 5}, {70, 65, 130}, {1, 8, 33}, {129, 1, 16}}) {
    for (int turn = 0; turn < 6; ++turn) {
      expect_products_agree("cuda_matmul_simple", m, n, k);
      if (HasFailure()) return;
    }
  }
}

TEST(CudaFp8, GridOfProducts) {
  for (const char* kernel : {"cuda_product", "cuda_product_hopper"}) {
    if (!can_run(product_case(kernel, 8, 8, 16)))
      GTEST_SKIP() << "skipped: needs a GPU that " << kernel << " multiplies FP8 on";
    const int64_t sizes[][3] = {{1, 8, 16}, {77, 72, 208}, {259, 1000, 1040}, {130, 264, 64}, {64, 512, 2048}};
    for (const auto& [m, n, k] : sizes) {
      expect_products_agree(kernel, m, n, k);
      if (HasFailure()) return;
    }
  }
}

// Two of four weights are zero, of either sign, some groups have fewer that are not; columns share masks or do not.
KernelCase thinned(KernelCase test) {
  Tensor& weights = test.inputs[1].tensor;
  const WeightForm form = test.op.ends_with("Conv") ? WeightForm::kFilter : WeightForm::kMatrix;
  make_sparse(view_weights(weights.data<Float8>(), weights.shape(), form), pick(0, 1) == 1 ? 64 : 1);
  for (int64_t i = 0; i < weights.elements(); i += 3)
    if (weights.data<uint8_t>()[i] == 0) weights.data<uint8_t>()[i] = 0x80;
  return test;
}

TEST(CudaFp8, SparseWeightsAreUnpacked) {
  const Tensor weights = thinned(product_case("", 1, 72, 96)).inputs[1].tensor;
  for (const cuda::SparseOrder& order :
       {cuda::hopper_order(64, kFp8), cuda::hopper_order(128, kFp8), cuda::ampere_order(kFp8)}) {
    const Tensor packed = cuda::pack_sparse(weights, WeightForm::kMatrix, order);
    const Tensor unpacked = cuda::unpack_sparse(packed, weights.shape(), WeightForm::kMatrix, order);
    for (int64_t i = 0; i < weights.elements(); ++i) {
      const uint8_t bits = weights.data<uint8_t>()[i];
      ASSERT_EQ(unpacked.data<uint8_t>()[i], bits == 0x80 ? 0 : bits) << "element " << i;
    }
  }
}

// What device/product_ampere.cuh has for FP8, also where there is no GPU: the emulated one knows its instructions.
TEST(CudaFp8, WarpProducts) {
  for (KernelCase test :
       {product_case("cuda_product", 70, 72, 208), thinned(product_case("cuda_product_sparse_ampere", 70, 72, 272)),
        thinned(product_case("cuda_product_sparse_ampere", 260, 136, 128))}) {
    test.emulated_sm = 89;
    if (!can_run(test)) GTEST_SKIP() << "skipped: needs a GPU that multiplies FP8";
    finish(test, {test.inputs[0].tensor.shape()[0], test.inputs[1].tensor.shape()[1]});
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

// Every tile, by its predicted time or as a configuration.
TEST(CudaFp8, LargeProducts) {
  if (!can_run(product_case("cuda_product_hopper", 8, 8, 16))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{2050, 1032, 128}, {128, 520, 4096}}) {
    expect_products_agree("cuda_product_hopper", m, n, k);
    if (HasFailure()) return;
  }
}

// Numbers of the whole range, of whose sums tensor cores drop bits: an instruction adds 32 products to a sum after it
// has cut all of them to 13 bits behind the leading one of the largest. With sums of about one, the largest part of a
// sum is less than 4, so each that is cut loses 4 * 2^-13 at most. What products lose has either sign, a third of its
// square on average: six standard deviations of 33 for each of k / 32 instructions. What is cut of the sum itself makes
// it smaller each time.
double lost_by_tensor_cores(int64_t k) {
  const double instructions = std::ceil(static_cast<double>(k) / 32), unit = 4 * std::exp2(-13);
  return unit * (6 * std::sqrt(33.0 / 3 * instructions) + instructions);
}

TEST(CudaFp8, LargeNumbers) {
  for (const char* kernel : {"cuda_matmul_simple", "cuda_product", "cuda_product_hopper"}) {
    if (!can_run(product_case(kernel, 8, 8, 16)))
      GTEST_SKIP() << "skipped: needs a GPU that " << kernel << " multiplies FP8 on";
    for (const auto& [m, n, k] : {std::array<int64_t, 3>{40, 72, 96}, {77, 200, 1040}}) {
      KernelCase test = product_case(kernel, m, n, k);
      test.inputs[0].tensor = random_tensor(kFp8, {m, k}, -kLargest, kLargest);
      test.inputs[1].tensor = random_tensor(kFp8, {k, n}, -kLargest, kLargest);
      test.inputs[2] = factors(n, k, kProductOfLargest);
      test.tolerance = kernel == std::string_view("cuda_matmul_simple") ? 1e-4 : lost_by_tensor_cores(k);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

struct ConvShape {
  int64_t batch, channels, height, width, filters, kernel, stride, pad, groups = 1;
};

KernelCase conv_case(const char* kernel, const ConvShape& s) {
  const int64_t depth = s.channels / s.groups * s.kernel * s.kernel;
  KernelCase test{kernel,
                  "hussar.QuantizedConv",
                  {{whole_numbers({s.batch, s.channels, s.height, s.width})},
                   {whole_numbers({s.filters, s.channels / s.groups, s.kernel, s.kernel}), true},
                   factors(s.filters, depth, kProductOfWhole)}};
  test.attributes = attributes(
      {{"strides", Ints{s.stride, s.stride}}, {"pads", Ints{s.pad, s.pad, s.pad, s.pad}}, {"group", s.groups}});
  test.attributes.set("x_scale", 0.01F);
  test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
  test.inputs[0].gap = 16 * pick(0, 1);
  test.tolerance = 1e-5;
  finish(test, {s.batch, s.filters, (s.height + 2 * s.pad - s.kernel) / s.stride + 1,
                (s.width + 2 * s.pad - s.kernel) / s.stride + 1});
  return test;
}

TEST(CudaFp8, SimpleConvolutions) {
  for (const char* kernel : {"cuda_conv_simple", "cuda_conv_depthwise"}) {
    const bool depthwise = std::string_view(kernel).ends_with("depthwise");
    for (const ConvShape& shape : {ConvShape{2, 6, 9, 7, 6, 3, 1, 1}, ConvShape{1, 8, 9, 9, 8, 3, 2, 1}}) {
      ConvShape own = shape;
      if (depthwise) own.groups = own.channels;
      for (int turn = 0; turn < 4; ++turn) {
        expect_kernel_agrees(conv_case(kernel, own));
        if (HasFailure()) return;
      }
    }
  }
}

TEST(CudaFp8, SparseWarpWindows) {
  KernelCase test = thinned(conv_case("cuda_conv_sparse_ampere", {1, 32, 9, 7, 40, 3, 2, 1}));
  test.emulated_sm = 89;
  if (!can_run(test)) GTEST_SKIP() << "skipped: needs a GPU that multiplies FP8";
  expect_kernel_agrees(test);
}

TEST(CudaFp8, Windows) {
  for (const char* kernel : {"cuda_conv", "cuda_conv_hopper"}) {
    if (!can_run(conv_case(kernel, {1, 16, 8, 8, 16, 3, 1, 1})))
      GTEST_SKIP() << "skipped: needs a GPU that " << kernel << " multiplies FP8 on";
    for (const ConvShape& shape : {ConvShape{2, 64, 15, 13, 128, 3, 2, 1}, ConvShape{3, 128, 7, 7, 264, 3, 1, 1}}) {
      expect_kernel_agrees(conv_case(kernel, shape));
      if (HasFailure()) return;
    }
  }
}

// All bytes there and back; what is rounded lies between them, and beyond the largest.
TEST(CudaFp8, Conversions) {
  Tensor all(kFp8, {256});
  for (int i = 0; i < 256; ++i) all.raw()[i] = static_cast<std::byte>(i);
  const Tensor one = Tensor::from<float>(kFloat, Shape{}, std::vector<float>{1});
  expect_kernel_agrees({"cuda_elementwise", "DequantizeLinear", {{all}, {one, true}}});
  std::vector<float> numbers;
  for (int i = 0; i < 0x7e; ++i) {
    const float low = small_float_to_float(static_cast<uint8_t>(i), kFp8);
    const float high = small_float_to_float(static_cast<uint8_t>(i + 1), kFp8), middle = (low + high) / 2;
    for (float number : {low, middle, std::nextafter(middle, low), std::nextafter(middle, high)}) {
      numbers.push_back(number);
      numbers.push_back(-number);
    }
  }
  for (float number : {448.0F, 463.9F, 464.0F, 465.0F, 1e9F, INFINITY, -INFINITY, NAN, 1e-9F, -1e-9F, 1e-40F})
    numbers.push_back(number);
  const Tensor x = Tensor::from<float>(kFloat, {std::ssize(numbers)}, numbers);
  const Tensor zero = converted(Tensor::from<float>(kFloat, Shape{}, std::vector<float>{0}), kFp8);
  expect_kernel_agrees({"cuda_elementwise", "QuantizeLinear", {{x}, {one, true}, {zero, true}}});
}

TEST(CudaFp8, ElementwiseWork) {
  for (const Shape& shape : {Shape{7, 33}, Shape{4, 64}}) {
    for (DType dtype : {kFloat, kHalf}) {
      KernelCase test{"cuda_elementwise", "hussar.Pointwise", {{random_tensor(dtype, shape, -9, 9)}}};
      test.program = Program{};
      test.program->step_count = 1;
      test.program->steps[0].op = ProgramOp::kHardSwish;
      test.program_inputs = 1;
      write_fp8(test, 0.01F);
      test.tolerance = 1e-5;
      expect_kernel_agrees(test);
      test.inputs[0].tensor = random_tensor(kFp8, shape, -kLargest, kLargest);
      test.attributes.set("x_scale", 0.02F);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(CudaFp8, Normalizations) {
  for (int64_t length : {24, 65, 768}) {
    for (size_t outputs : {1, 2}) {
      KernelCase test{"cuda_norm",
                      "hussar.NormToBytes",
                      {{random_tensor(kFloat, {5, length})}, {random_tensor(kFloat, {length}, 0.5, 2)}}};
      test.outputs = outputs;
      test.tolerance = 1e-5;
      write_fp8(test, 0.01F);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(CudaFp8, Attention) {
  for (const char* kernel : {"cuda_attention_simple", "cuda_attention_tensor"}) {
    const DType dtype = std::string_view(kernel).ends_with("simple") ? kFloat : kHalf;
    auto x = [&] { return Argument{random_tensor(dtype, {2, 40, 128}, -1, 1)}; };
    KernelCase test{kernel, "hussar.Attention", {x(), x(), x()}};
    test.attributes = attributes({{"heads", int64_t{2}}, {"head_dim", int64_t{64}}});
    write_fp8(test, 0.01F);
    test.tolerance = 0.02;  // 2e-4 of what the bytes stand for
    if (!can_run(test)) GTEST_SKIP() << "skipped: needs a GPU that " << kernel << " runs on";
    expect_kernel_agrees(test);
  }
}

}  // namespace
}  // namespace hussar
