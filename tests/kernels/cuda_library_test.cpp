// Kernels that call NVIDIA's libraries, against the reference: stand-ins for these on the emulated device, the real
// ones on a GPU.
#include <array>
#include <cmath>

#include "tactics/choose.h"
#include "tactics/problem_grammar.h"
#include "tensor/convert.h"
#include "tests/kernels/kernel_case.h"
#include "tests/support/emulated_device.h"
#include "tests/support/fake_libraries.h"

namespace hussar {
namespace {

constexpr DType kHalf = DType::kFloat16, kBFloat = DType::kBFloat16, kFloat = DType::kFloat32;
constexpr const char* kMissing = "skipped: needs cuBLASLt and cuDNN";

Argument values(DType dtype, const Shape& shape) { return {random_tensor(dtype, shape, -1, 1)}; }
Argument weights(DType dtype, const Shape& shape) { return {random_tensor(dtype, shape, -1, 1), true}; }

double tolerance_of(DType dtype, int64_t k) {
  return dtype == kHalf ? 2e-3 : dtype == kBFloat ? 2e-2 : 3e-7 * std::sqrt(static_cast<double>(k)) + 1e-6;
}

KernelCase product_case(DType dtype, int64_t m, int64_t n, int64_t k) {
  KernelCase test{"cuda_product_cublaslt", "MatMul", {values(dtype, {m, k}), weights(dtype, {k, n})}};
  test.tolerance = tolerance_of(dtype, k);
  return test;
}

// y = activation((x + operand 0) + operand 1 ...); kCopy: no activation.
void fuse(KernelCase& test, const std::vector<Argument>& operands, ProgramOp activation = ProgramOp::kCopy) {
  Program program{};
  program.operand_count = static_cast<uint8_t>(operands.size());
  for (size_t i = 0; i < operands.size(); ++i) {
    ProgramStep& step = program.steps[program.step_count++];
    step.op = ProgramOp::kAdd;
    step.source = ProgramSource::kOperand;
    step.b = static_cast<uint8_t>(i);
  }
  if (activation != ProgramOp::kCopy) program.steps[program.step_count++].op = activation;
  test.program = program;
  test.program_inputs = static_cast<int32_t>(test.inputs.size());
  test.inputs.insert(test.inputs.end(), operands.begin(), operands.end());
}

TEST(CudaLibraries, ProductsWithEveryEpilogue) {
  if (!tests::use_libraries()) GTEST_SKIP() << kMissing;
  for (DType dtype : {kFloat, kHalf, kBFloat}) {
    for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 8, 16}, {37, 40, 208}, {66, 72, 64}}) {
      expect_kernel_agrees(product_case(dtype, m, n, k));
      for (ProgramOp activation : {ProgramOp::kCopy, ProgramOp::kRelu, ProgramOp::kGeluTanh}) {
        KernelCase bias = product_case(dtype, m, n, k), residual, both, activated;
        bias.tf32 = dtype == kFloat && activation == ProgramOp::kGeluTanh;
        if (bias.tf32) bias.tolerance = 2e-2;
        residual = both = activated = bias;
        fuse(bias, {weights(dtype, {n})}, activation);
        fuse(residual, {values(dtype, {m, n})}, activation);
        fuse(both, {weights(dtype, {n}), values(dtype, {m, n})}, activation);
        expect_kernel_agrees(bias);
        expect_kernel_agrees(residual);
        expect_kernel_agrees(both);
        if (activation != ProgramOp::kCopy) {
          fuse(activated, {}, activation);
          expect_kernel_agrees(activated);
        }
        if (HasFailure()) return;
      }
    }
  }
}

// What halves or BF16 give in floats, batches of rows, weights that lie turned already, and TF32.
TEST(CudaLibraries, OtherProducts) {
  if (!tests::use_libraries()) GTEST_SKIP() << kMissing;
  KernelCase rows = product_case(kFloat, 6, 24, 40);
  rows.inputs[0] = values(kFloat, {2, 3, 40});
  fuse(rows, {weights(kFloat, {24}), values(kFloat, {2, 3, 24})}, ProgramOp::kRelu);
  expect_kernel_agrees(rows);
  KernelCase turned{
      "cuda_product_cublaslt", "com.microsoft.FusedMatMul", {values(kHalf, {5, 32}), weights(kHalf, {16, 32})}};
  turned.attributes.set("transB", int64_t{1});
  turned.tolerance = 2e-3;
  expect_kernel_agrees(turned);
  KernelCase tf32 = product_case(kFloat, 65, 72, 136);
  tf32.tf32 = true;
  tf32.tolerance = 2e-2;
  expect_kernel_agrees(tf32);
}

// Whole numbers of FP8, whose sums nobody rounds; with a scale of each column, or one of all.
KernelCase float8_case(int64_t m, int64_t n, int64_t k, DType output, bool of_columns) {
  constexpr DType kFp8 = DType::kFloat8E4M3FN;
  auto whole_numbers = [](const Shape& shape) { return converted(random_tensor(DType::kInt8, shape, -4, 4), kFp8); };
  const std::vector<float> same(static_cast<size_t>(n), 0.5F);
  const Tensor scales = of_columns ? random_tensor(kFloat, {n}, 0.1, 1) : Tensor::from<float>(kFloat, Shape{n}, same);
  KernelCase test{"cuda_product_cublaslt",
                  "hussar.QuantizedMatMul",
                  {{whole_numbers({m, k})}, {whole_numbers({k, n}), true}, {scales, true}}};
  test.inputs.push_back(output != kFloat && pick(0, 1) == 1 ? weights(kFloat, {n}) : Argument{});
  test.attributes.set("x_scale", 0.02F);
  if (output != kFloat) test.attributes.set("y_type", static_cast<int64_t>(output));
  test.tolerance = output == kHalf ? 2e-3 : output == kBFloat ? 1.6e-2 : 1e-5;
  return test;
}

// The library need not have an algorithm for everything; with one, it agrees.
void expect_float8_agrees(const KernelCase& test, int& refused) {
  const bool is_real = !tests::is_emulated(tests::use_test_device());
  if (is_real && run_error_of(test).find("cuBLASLt has no algorithm") != std::string::npos) {
    ++refused;
    return;
  }
  expect_kernel_agrees(test);
}

TEST(CudaLibraries, ProductsOfFloat8) {
  if (!tests::use_libraries()) GTEST_SKIP() << kMissing;
  int refused = 0;
  for (DType output : {kFloat, kHalf, kBFloat}) {
    for (bool of_columns : {true, false}) {
      for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 16, 16}, {37, 48, 208}, {66, 80, 64}}) {
        KernelCase plain = float8_case(m, n, k, output, of_columns), added = plain, activated = plain;
        const auto refusal = refusal_of(plain);
        if (refusal && (refusal->starts_with("needs FP8") || refusal->starts_with("has scales of columns")))
          GTEST_SKIP() << "skipped: " << *refusal;
        fuse(added, {values(output, {m, n})}, ProgramOp::kRelu);
        fuse(activated, {}, output == kFloat ? ProgramOp::kRelu : ProgramOp::kGeluTanh);
        for (const KernelCase& test : {plain, added, activated}) expect_float8_agrees(test, refused);
        if (HasFailure()) return;
      }
    }
  }
  EXPECT_LT(refused, 27) << "of 54";
}

// Convolutions of kernel 1 between slices of wider values.
TEST(CudaLibraries, PointwiseConvolutionsAsProducts) {
  if (!tests::use_libraries()) GTEST_SKIP() << kMissing;
  for (DType dtype : {kFloat, kHalf}) {
    KernelCase test{"cuda_product_cublaslt",
                    "Conv",
                    {values(dtype, {2, 32, 5, 3}), weights(dtype, {24, 32, 1, 1}), weights(dtype, {24})}};
    test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
    test.inputs[0].gap = 8;
    test.output_gap = 16;
    Argument residual = values(dtype, {2, 24, 5, 3});
    residual.layout = Layout::kChannelsLast;
    fuse(test, {residual}, ProgramOp::kRelu);
    test.tolerance = tolerance_of(dtype, 32);
    expect_kernel_agrees(test);
  }
}

// The reason is the whole text.
void expect_refusal(const KernelCase& test, const std::string& reason) {
  EXPECT_EQ(refusal_of(test).value_or("none"), reason);
}

TEST(CudaLibraries, HaveToBeAheadByATenth) {
  if (!tests::use_libraries()) GTEST_SKIP() << kMissing;
  auto parsed = parse_problem("matmul m=128 n=768 k=3072");
  ASSERT_TRUE(parsed) << parsed.error().message;
  Target target{0, 2};
  target.place = Place::kDevice;
  target.sm = 90;
  target.no_libraries = {};
  const Problem problem{*parsed->node, target};
  auto chosen_when_it_takes = [&](double microseconds) {
    auto measured = [&](const Problem&, const Rival& rival) -> std::optional<double> {
      if (!rival.configuration.empty()) return std::nullopt;
      if (rival.tactic->kernel == "cuda_product") return 100;
      return rival.tactic->vendor_library != nullptr ? std::optional(microseconds) : std::nullopt;
    };
    return choose(problem, measured).tactic()->kernel;
  };
  EXPECT_EQ(chosen_when_it_takes(95), "cuda_product");
  EXPECT_EQ(chosen_when_it_takes(85), "cuda_product_cublaslt");
}

TEST(CudaLibraries, RefusesOtherEpilogues) {
  if (!tests::use_libraries()) GTEST_SKIP() << kMissing;
  const KernelCase plain = product_case(kHalf, 9, 16, 32);
  KernelCase erf = plain, scaled = plain, twice = plain, behind = plain, wide = plain, row = plain, floats = plain;
  fuse(erf, {weights(kHalf, {16})}, ProgramOp::kGeluErf);
  expect_refusal(erf, "fused gelu_erf");
  KernelCase exact = product_case(kFloat, 9, 16, 32);
  fuse(exact, {}, ProgramOp::kGeluTanh);
  expect_refusal(exact, "GELU in FP32");
  fuse(scaled, {weights(kHalf, {16})});
  scaled.program->steps[0].op = ProgramOp::kMul;
  expect_refusal(scaled, "fused mul");
  fuse(twice, {values(kHalf, {9, 16}), values(kHalf, {9, 16})});
  expect_refusal(twice, "a fused operand is no bias and no residual");
  fuse(behind, {weights(kHalf, {16})});
  behind.program->steps[1] = behind.program->steps[0];
  behind.program->steps[0] = ProgramStep{};
  behind.program->steps[0].op = ProgramOp::kRelu;
  behind.program->step_count = 2;
  expect_refusal(behind, "another fused program");
  fuse(wide, {weights(kFloat, {16})});
  expect_refusal(wide, "a fused operand is not of the output's type");
  fuse(row, {values(kHalf, {9, 1})});
  expect_refusal(row, "a fused operand is no bias and no residual");
  expect_refusal(product_case(kHalf, 9, 12, 32), "rows are not multiples of 16 bytes");
  floats.inputs[1] = values(kHalf, {32, 16});
  expect_refusal(floats, "needs constant weights");
}

TEST(CudaLibraries, RefusesOtherBytes) {
  if (!tests::use_libraries()) GTEST_SKIP() << kMissing;
  KernelCase bytes = float8_case(9, 16, 32, kHalf, true), narrow = float8_case(9, 24, 32, kHalf, true),
             biased = float8_case(9, 16, 32, kFloat, true), rounded = bytes;
  if (refusal_of(bytes)) GTEST_SKIP() << "skipped: " << *refusal_of(bytes);
  expect_refusal(narrow, "columns are not a multiple of 16");
  biased.inputs[3] = weights(kFloat, {16});
  expect_refusal(biased, "has a bias of floats in BF16 only");
  rounded.attributes.set("y_scale", 0.05F);
  rounded.attributes.set("y_type", static_cast<int64_t>(DType::kFloat8E4M3FN));
  expect_refusal(rounded, "gives FP8 with one scale of all columns only");
  bytes.inputs[0].tensor = random_tensor(DType::kUInt8, {9, 32}, 0, 255);
  bytes.inputs[1].tensor = random_tensor(DType::kInt8, {32, 16}, -127, 127);
  expect_refusal(bytes, "makes no numbers of sums of bytes");
}

struct Geometry {
  int64_t channels, filters, groups, height, width, kernel, stride, pad, dilation;
};

KernelCase conv_case(DType dtype, const Geometry& geometry) {
  const auto& [channels, filters, groups, height, width, kernel, stride, pad, dilation] = geometry;
  const Shape filter{filters, channels / groups, kernel, kernel};
  KernelCase test{"cuda_conv_cudnn",
                  "Conv",
                  {values(dtype, {2, channels, height, width}), weights(dtype, filter), weights(dtype, {filters})}};
  test.attributes = attributes({{"strides", Ints{stride, stride}},
                                {"pads", Ints{pad, pad, pad, pad}},
                                {"dilations", Ints{dilation, dilation}},
                                {"group", groups}});
  test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
  test.tolerance = dtype == kFloat ? 1e-4 : tolerance_of(dtype, 0);
  return test;
}

// cuDNN need not have an algorithm for everything; with one, it agrees.
void expect_convolution_agrees(const KernelCase& test, int& refused) {
  const bool is_real = !tests::is_emulated(tests::use_test_device());
  if (is_real && run_error_of(test).find("cuDNN has no algorithm") != std::string::npos) {
    ++refused;
    return;
  }
  expect_kernel_agrees(test);
}

Shape output_of(const Geometry& geometry) {
  auto size = [&](int64_t input) {
    return (input + 2 * geometry.pad - (geometry.kernel - 1) * geometry.dilation - 1) / geometry.stride + 1;
  };
  return {2, geometry.filters, size(geometry.height), size(geometry.width)};
}

constexpr Geometry kGeometries[] = {{16, 24, 1, 9, 7, 3, 1, 1, 1},  {3, 16, 1, 13, 13, 5, 2, 2, 1},
                                    {16, 16, 4, 8, 8, 3, 1, 1, 1},  {16, 16, 16, 7, 9, 3, 2, 1, 1},
                                    {8, 16, 1, 11, 11, 3, 1, 2, 2}, {32, 8, 1, 6, 5, 1, 2, 0, 1}};

TEST(CudaLibraries, Convolutions) {
  if (!tests::use_libraries()) GTEST_SKIP() << kMissing;
  int refused = 0;
  for (DType dtype : {kFloat, kHalf, kBFloat}) {
    for (const Geometry& geometry : kGeometries) {
      Argument residual = values(dtype, output_of(geometry));
      residual.layout = Layout::kChannelsLast;
      KernelCase plain = conv_case(dtype, geometry), positive = plain, added = plain, all = plain, bare = plain;
      fuse(positive, {}, ProgramOp::kRelu);
      fuse(added, {residual});
      fuse(all, {residual}, ProgramOp::kRelu);
      bare.inputs.resize(2);
      for (const KernelCase& test : {plain, positive, added, all, bare}) expect_convolution_agrees(test, refused);
      if (HasFailure()) return;
    }
  }
  EXPECT_LT(refused, 30) << "of 90 in FP32, FP16 and BF16";
  KernelCase tf32 = conv_case(kFloat, kGeometries[0]);
  tf32.tf32 = true;
  tf32.tolerance = 2e-2;
  expect_kernel_agrees(tf32);
}

TEST(CudaLibraries, RefusesOtherConvolutions) {
  if (!tests::use_libraries()) GTEST_SKIP() << kMissing;
  const KernelCase plain = conv_case(kHalf, kGeometries[0]);
  KernelCase slice = plain, uneven = plain, deep = plain, tanh = plain, bare = plain, planar = plain;
  slice.inputs[0].gap = 8;
  expect_refusal(slice, "a slice of a wider value");
  uneven.attributes.set("pads", Ints{0, 0, 1, 1});
  expect_refusal(uneven, "padding that is not the same on both sides");
  deep.inputs[0].tensor = random_tensor(kHalf, {2, 16, 3, 9, 7});
  deep.inputs[1].tensor = random_tensor(kHalf, {24, 16, 1, 3, 3});
  for (const char* name : {"strides", "dilations"}) deep.attributes.set(name, Ints{1, 1, 1});
  deep.attributes.set("pads", Ints(6, 0));
  expect_refusal(deep, "three dimensions");
  fuse(tanh, {}, ProgramOp::kGeluTanh);
  expect_refusal(tanh, "fused activation");
  bare.inputs.resize(2);
  fuse(bare, {}, ProgramOp::kRelu);
  expect_refusal(bare, "a fused program without a bias");
  planar.inputs[0].layout = planar.output_layout = Layout::kPlain;
  expect_refusal(planar, "layout is not channels-last");
}

}  // namespace
}  // namespace hussar
