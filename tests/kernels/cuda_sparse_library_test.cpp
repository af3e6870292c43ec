// Products with 2:4 weights by cuSPARSELt, against the reference: a stand-in for it on the emulated device, the real
// one on a GPU.
#include <array>

#include "plan/kernel.h"
#include "tactics/choose.h"
#include "tactics/problem_grammar.h"
#include "tensor/convert.h"
#include "tensor/float8_mask.h"
#include "tests/kernels/int8_case.h"
#include "tests/kernels/kernel_case.h"
#include "tests/kernels/sparse_case.h"
#include "tests/support/emulated_device.h"
#include "tests/support/fake_libraries.h"

namespace hussar {
namespace {

constexpr DType kHalf = DType::kFloat16, kBFloat = DType::kBFloat16, kFloat = DType::kFloat32,
                kFp8 = DType::kFloat8E4M3FN;
constexpr const char* kKernel = "cuda_product_cusparselt";
constexpr const char* kMissing = "skipped: needs cuSPARSELt";

Argument values(DType dtype, const Shape& shape) { return {random_tensor(dtype, shape, -1, 1)}; }
Argument weights(DType dtype, const Shape& shape) { return {random_tensor(dtype, shape, -1, 1), true}; }

WeightForm form_of(const KernelCase& test) {
  return test.op.ends_with("Conv") ? WeightForm::kFilter : WeightForm::kMatrix;
}

// Of any type; some zeros have a sign, where there is one.
KernelCase thinned(KernelCase test) {
  Tensor& w = test.inputs[1].tensor;
  auto thin = [&](auto* data) { make_sparse(view_weights(data, w.shape(), form_of(test)), pick(0, 1) == 1 ? 64 : 1); };
  if (w.dtype() == DType::kInt8) {
    thin(w.data<int8_t>());
  } else if (w.dtype() == kFp8) {
    thin(w.data<Float8>());
    for (int64_t i = 0; i < w.elements(); i += 3)
      if (w.data<uint8_t>()[i] == 0) w.data<uint8_t>()[i] = 0x80;
  } else {
    thin(w.data<Half>());
    for (int64_t i = 0; i < w.elements(); i += 3)
      if (w.data<uint16_t>()[i] == 0) w.data<uint16_t>()[i] = 0x8000;
  }
  return test;
}

KernelCase product_of(DType dtype, int64_t m, int64_t n, int64_t k) {
  KernelCase test{kKernel, "MatMul", {values(dtype, {m, k}), weights(dtype, {k, n})}};
  test.tolerance = dtype == kHalf ? 2e-3 : 2e-2;
  return thinned(test);
}

// Whole numbers of FP8, whose columns have one scale.
KernelCase product_of_float8(int64_t m, int64_t n, int64_t k, DType output) {
  auto whole_numbers = [](const Shape& shape) { return converted(random_tensor(DType::kInt8, shape, -4, 4), kFp8); };
  KernelCase test{kKernel,
                  "hussar.QuantizedMatMul",
                  {{whole_numbers({m, k})},
                   {whole_numbers({k, n}), true},
                   {Tensor::from<float>(kFloat, Shape{n}, std::vector<float>(static_cast<size_t>(n), 0.5F)), true}}};
  test.inputs.push_back(pick(0, 1) == 1 ? weights(kFloat, {n}) : Argument{});
  test.attributes.set("x_scale", 0.02F);
  if (output != kFloat) test.attributes.set("y_type", static_cast<int64_t>(output));
  test.tolerance = output == kHalf ? 2e-3 : output == kBFloat ? 1.6e-2 : 1e-5;
  return thinned(test);
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

// In every algorithm; a real library need not have all but the usual one.
void expect_agrees(const KernelCase& test) {
  if (tests::is_emulated(tests::use_test_device())) return expect_kernel_agrees(test);
  for (const char* name : {"", "algo_1", "algo_3", "algo_7", "split_k"}) {
    KernelCase one = test;
    one.only_usual = true;
    if (*name != '\0') one.attributes.set(kConfigurationAttribute, std::string(name));
    if (*name != '\0' && run_error_of(one).find("cuSPARSELt has no algorithm") != std::string::npos) continue;
    SCOPED_TRACE(name);
    expect_kernel_agrees(one);
  }
}

constexpr std::array<int64_t, 3> kSizes[] = {{16, 32, 32}, {48, 96, 160}, {64, 160, 64}};

TEST(CudaSparseLibrary, HalvesWithEveryEpilogue) {
  if (!tests::use_sparse_library()) GTEST_SKIP() << kMissing;
  for (DType dtype : {kHalf, kBFloat}) {
    for (const auto& [m, n, k] : kSizes) {
      expect_agrees(product_of(dtype, m, n, k));
      for (ProgramOp activation : {ProgramOp::kCopy, ProgramOp::kRelu}) {
        KernelCase bias = product_of(dtype, m, n, k), residual = bias, both = bias, positive = bias;
        fuse(bias, {weights(dtype, {n})}, activation);
        fuse(residual, {values(dtype, {m, n})}, activation);
        fuse(both, {weights(dtype, {n}), values(dtype, {m, n})}, activation);
        fuse(positive, {}, ProgramOp::kRelu);
        for (const KernelCase& test : {bias, residual, both, positive}) expect_agrees(test);
        if (HasFailure()) return;
      }
    }
  }
}

TEST(CudaSparseLibrary, Float8WithOneScale) {
  if (!tests::use_sparse_library()) GTEST_SKIP() << kMissing;
  for (DType output : {kFloat, kHalf, kBFloat}) {
    for (const auto& [m, n, k] : kSizes) {
      KernelCase plain = product_of_float8(m, n, k, output), added = plain;
      if (refusal_of(plain).value_or("").starts_with("needs FP8")) GTEST_SKIP() << "skipped: needs a GPU with FP8";
      fuse(added, {values(output, {m, n})}, ProgramOp::kRelu);
      for (const KernelCase& test : {plain, added}) expect_agrees(test);
      if (HasFailure()) return;
    }
  }
}

// Convolutions of kernel 1 between slices of wider values.
TEST(CudaSparseLibrary, PointwiseConvolutions) {
  if (!tests::use_sparse_library()) GTEST_SKIP() << kMissing;
  KernelCase test =
      thinned({kKernel, "Conv", {values(kHalf, {2, 32, 4, 4}), weights(kHalf, {48, 32, 1, 1}), weights(kHalf, {48})}});
  test.tolerance = 2e-3;
  test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
  test.inputs[0].gap = 16;
  test.output_gap = 32;
  expect_agrees(test);
}

// The reason is the whole text.
void expect_refusal(const KernelCase& test, const std::string& reason) {
  EXPECT_EQ(refusal_of(test).value_or("none"), reason);
}

TEST(CudaSparseLibrary, RefusesWhatItLacks) {
  if (!tests::use_sparse_library()) GTEST_SKIP() << kMissing;
  const KernelCase plain = product_of(kHalf, 16, 32, 32);
  KernelCase dense = plain, tanh = plain, erf = plain, run_bias = plain, floats = plain, wide = plain;
  dense.inputs[1] = weights(kHalf, {32, 32});
  expect_refusal(dense, "weights are not 2:4");
  fuse(tanh, {weights(kHalf, {32})}, ProgramOp::kGeluTanh);
  expect_refusal(tanh, "fused gelu_tanh");
  fuse(erf, {}, ProgramOp::kGeluErf);
  expect_refusal(erf, "fused gelu_erf");
  fuse(run_bias, {values(kHalf, {32})});
  expect_refusal(run_bias, "the bias is no constant");
  fuse(wide, {weights(kFloat, {32})});
  expect_refusal(wide, "a fused operand is not of the output's type");
  expect_refusal(product_of(kHalf, 12, 32, 32), "rows are not a multiple of 8");
  expect_refusal(product_of(kHalf, 16, 40, 32), "rows and columns of weights are not multiples of 16");
  KernelCase conv{
      kKernel, "Conv", {values(kHalf, {1, 32, 4, 4}), weights(kHalf, {32, 32, 1, 1}), weights(kHalf, {32})}};
  conv.inputs[0].layout = conv.output_layout = Layout::kChannelsLast;
  Argument residual = values(kHalf, {1, 32, 4, 4});
  residual.layout = Layout::kChannelsLast;
  residual.gap = 8;
  fuse(conv, {residual});
  expect_refusal(thinned(conv), "rows of the residual do not lie as those of the output");
}

TEST(CudaSparseLibrary, RefusesOtherBytes) {
  if (!tests::use_sparse_library()) GTEST_SKIP() << kMissing;
  KernelCase integers =
      product_case(kKernel, "hussar.QuantizedMatMul", random_bytes({16, 32}, Layout::kPlain, 0), {32, 32}, 32, 32);
  integers.attributes.set("y_type", static_cast<int64_t>(kHalf));
  expect_refusal(thinned(integers), "INT8 is not exact");
  KernelCase scales = product_of_float8(16, 32, 32, kHalf);
  if (refusal_of(scales).value_or("").starts_with("needs FP8")) GTEST_SKIP() << "skipped: needs a GPU with FP8";
  scales.inputs[2].tensor.data<float>()[5] = 0.25F;
  expect_refusal(scales, "has no scales of columns for FP8");
}

// As much as any library, and not as little as other kernels with 2:4 weights.
TEST(CudaSparseLibrary, HasToBeAheadByATenth) {
  if (!tests::use_sparse_library()) GTEST_SKIP() << kMissing;
  auto parsed = parse_problem("MatMul x0=128x3072:float16 x1=3072x768:float16:const:2:4 y0=128x768:float16");
  ASSERT_TRUE(parsed) << parsed.error().message;
  Target target{0, 2};
  target.place = Place::kDevice;
  target.sm = 90;
  target.no_fp16 = target.no_libraries = {};
  target.is_measured = true;
  const Problem problem{*parsed->node, target};
  auto chosen_when_it_takes = [&](double microseconds) {
    auto measured = [&](const Problem&, const Rival& rival) -> std::optional<double> {
      if (!rival.configuration.empty()) return std::nullopt;
      if (rival.tactic->kernel == "cuda_product_hopper") return 100;
      return rival.tactic->kernel == kKernel ? std::optional(microseconds) : std::nullopt;
    };
    return choose(problem, measured).tactic()->kernel;
  };
  EXPECT_EQ(chosen_when_it_takes(95), "cuda_product_hopper");
  EXPECT_EQ(chosen_when_it_takes(85), kKernel);
}

// On the GPUs that it multiplies on.
TEST(CudaSparseLibrary, NeedsSparseTensorCores) {
  if (!tests::use_sparse_library()) GTEST_SKIP() << kMissing;
  if (!tests::is_emulated(tests::use_test_device())) GTEST_SKIP() << "skipped: the GPU has its own capability";
  KernelCase old = product_of(kHalf, 16, 32, 32), ampere = old;
  old.emulated_sm = 75;
  ampere.emulated_sm = 80;
  expect_refusal(old, "needs sparse tensor cores (sm_80)");
  expect_refusal(ampere, "none");
}

}  // namespace
}  // namespace hussar
