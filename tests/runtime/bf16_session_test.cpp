// Plans in BF16: those of FP16 with another type, in FP32's range.
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "compile/precision.h"
#include "compile/self_check.h"
#include "tests/support/device_models.h"
#include "tests/support/encoder_model.h"
#include "tests/support/folder.h"

namespace hussar::tests {
namespace {

std::vector<float> ramp(size_t count, float step) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = step * static_cast<float>(static_cast<int>(i * 7 % 23) - 11);
  return values;
}

// A network of pictures with everything that kernels of the device have a form in halves for.
Message picture_network() {
  const auto pads = attribute("pads", std::vector<int64_t>{1, 1, 1, 1});
  const auto kernel = attribute("kernel_shape", std::vector<int64_t>{2, 2});
  const auto strides = attribute("strides", std::vector<int64_t>{2, 2});
  return model(graph({{node("Conv", {"x", "first"}, {"a"}, {pads, strides}),
                       node("Sigmoid", {"a"}, {"b"}),
                       node("Mul", {"a", "b"}, {"c"}),
                       node("Conv", {"c", "wide", "bias"}, {"d"}, {pads}),
                       node("Relu", {"d"}, {"e"}),
                       node("Conv", {"e", "depth"}, {"f"}, {pads, attribute("group", int64_t{16})}),
                       node("Add", {"f", "c"}, {"g"}),
                       node("InstanceNormalization", {"g", "bias", "bias"}, {"h"}),
                       node("LRN", {"h"}, {"i"}, {attribute("size", int64_t{3})}),
                       node("MaxPool", {"i"}, {"j"}, {kernel, strides}),
                       node("AveragePool", {"j"}, {"k"}, {kernel}),
                       node("Resize", {"k", "", "scales"}, {"l"}),
                       node("Pad", {"l", "pads"}, {"m"}),
                       node("ConvTranspose", {"m", "up"}, {"n"}, {strides}),
                       node("Concat", {"n", "n"}, {"o"}, {attribute("axis", int64_t{1})}),
                       node("ReduceMean", {"o", "axes"}, {"p"}, {attribute("keepdims", int64_t{0})}),
                       node("Softmax", {"p"}, {"q"}, {attribute("axis", int64_t{1})}),
                       node("LayerNormalization", {"q", "scale"}, {"r"}),
                       node("MatMul", {"r", "last"}, {"s"}),
                       node("Transpose", {"s"}, {"t"}),
                       node("Sin", {"t"}, {"y"})},
                      {value("x", {"N", 3, 16, 16})},
                      {any_shape("y")},
                      {tensor_of("first", DType::kFloat32, {16, 3, 3, 3}, ramp(432, 0.02F)),
                       tensor_of("wide", DType::kFloat32, {16, 16, 3, 3}, ramp(2304, 0.01F)),
                       tensor_of("bias", DType::kFloat32, {16}, ramp(16, 0.1F)),
                       tensor_of("depth", DType::kFloat32, {16, 1, 3, 3}, ramp(144, 0.03F)),
                       tensor_of("up", DType::kFloat32, {16, 8, 2, 2}, ramp(512, 0.03F)),
                       tensor_of("scales", DType::kFloat32, {4}, std::vector<float>{1, 1, 2, 2}),
                       tensor_of("pads", DType::kInt64, {8}, std::vector<int64_t>{0, 0, 1, 1, 0, 0, 1, 1}),
                       tensor_of("axes", DType::kInt64, {2}, std::vector<int64_t>{2, 3}),
                       tensor_of("scale", DType::kFloat32, {16}, ramp(16, 0.1F)),
                       tensor_of("last", DType::kFloat32, {16, 64}, ramp(1024, 0.05F))}}));
}

struct Described {
  std::string op, name, kernel;
  std::vector<DType> types;  // of inputs and outputs
  auto operator<=>(const Described&) const = default;
};
std::vector<Described> describe_steps(const Plan& plan) {
  std::vector<Described> list;
  for (const PlanStep& step : plan.graph.steps) {
    Described described{step.op, step.name, step.kernel, {}};
    for (const auto* values : {&step.inputs, &step.outputs}) {
      for (int32_t index : *values)
        described.types.push_back(index < 0 ? DType::kUndefined : plan.graph.values[static_cast<size_t>(index)].dtype);
    }
    list.push_back(std::move(described));
  }
  return list;
}

// Nothing of it stays in FP32, or falls to the CPU, where FP16 has a kernel.
TEST(CudaBf16, SameStepsAsInFp16) {
  for (const Message& model : {conv_model(), dense_model(), picture_network(), encoder_model(), host_between_model()}) {
    for (const bool packed : {false, true}) {
      if (packed && model.bytes().size() != encoder_model().bytes().size()) continue;
      CompileOptions in_fp16, in_bf16;
      in_fp16.fp16 = in_bf16.bf16 = true;
      in_fp16.packed = in_bf16.packed = packed;
      auto fp16 = plan_for_hopper(model, in_fp16), bf16 = plan_for_hopper(model, in_bf16);
      ASSERT_TRUE(fp16 && bf16);
      std::vector<Described> wanted = describe_steps(*fp16), actual = describe_steps(*bf16);
      for (Described& step : wanted)
        std::replace(step.types.begin(), step.types.end(), DType::kFloat16, DType::kBFloat16);
      ASSERT_EQ(actual.size(), wanted.size());
      for (size_t i = 0; i < wanted.size(); ++i)
        EXPECT_EQ(actual[i], wanted[i]) << wanted[i].name << " " << wanted[i].op;
      EXPECT_EQ(count_half_steps(bf16->graph, DType::kBFloat16), count_half_steps(fp16->graph, DType::kFloat16));
      EXPECT_EQ(count_half_steps(bf16->graph, DType::kFloat16), 0);
      EXPECT_EQ(tolerance_of_floats(bf16->graph), kBf16Tolerance);
    }
  }
}

// What a plan gives, and what the model gives by reference code, for the same inputs.
struct Results {
  std::vector<float> actual, wanted;
};
Results results_of(const Message& model, CompileOptions options) {
  CompileOptions reference;
  reference.reference_only = true;
  auto plan = build(model.bytes(), options), exact = build(model.bytes(), reference);
  EXPECT_TRUE(plan && exact);
  if (!plan || !exact) return {};
  auto inputs = make_inputs(**plan, 3, 5, 100000);
  auto run = [&](const std::shared_ptr<const Plan>& subject) -> std::vector<float> {
    auto session = Session::create(subject);
    EXPECT_TRUE(session) << session.error().message;
    if (!session) return {};
    auto outputs = (*session)->run_in_order(*inputs);
    EXPECT_TRUE(outputs) << outputs.error().message;
    if (!outputs) return {};
    const Tensor& y = (*outputs)[0];
    EXPECT_EQ(y.dtype(), DType::kFloat32);
    return {y.data<float>(), y.data<float>() + y.elements()};
  };
  return {run(*plan), run(*exact)};
}

double error_of(const Results& results) {
  double error = 0, largest = 0;
  for (size_t i = 0; i < results.wanted.size(); ++i) {
    const double apart = std::fabs(static_cast<double>(results.actual[i]) - results.wanted[i]);
    error = std::isnan(apart) ? INFINITY : std::fmax(error, apart);
    largest = std::fmax(largest, std::fabs(results.wanted[i]));
  }
  return error / largest;
}

CompileOptions in_bf16() {
  CompileOptions options = for_device();
  options.bf16 = true;
  return options;
}

TEST(CudaBf16, Networks) {
  EncoderForm form;
  form.finds_padding = true;  // masks are zeros and ones
  for (const Message& model : {picture_network(), encoder_model(form)}) {
    const Results results = results_of(model, in_bf16());
    ASSERT_EQ(results.actual.size(), results.wanted.size());
    EXPECT_LE(error_of(results), kBf16Tolerance);
    EXPECT_GE(error_of(results), 1e-4) << "is it in BF16?";
  }
}

// Between the products lie numbers of a million.
Message large_numbers() {
  return model(graph({{node("MatMul", {"x", "w"}, {"a"}), node("Gemm", {"a", "v"}, {"y"})},
                      {value("x", {"N", 64})},
                      {any_shape("y")},
                      {tensor_of("w", DType::kFloat32, {64, 64}, ramp(4096, 3e4F)),
                       tensor_of("v", DType::kFloat32, {64, 64}, ramp(4096, 1e-3F))}}));
}

TEST(CudaBf16, ReachesBeyondHalves) {
  CompileOptions in_fp16 = for_device();
  in_fp16.fp16 = true;
  const Results halves = results_of(large_numbers(), in_fp16), bf16 = results_of(large_numbers(), in_bf16());
  ASSERT_FALSE(halves.actual.empty() || bf16.actual.empty());
  EXPECT_FALSE(std::isfinite(error_of(halves)));
  EXPECT_LE(error_of(bf16), 2e-2);
}

Result<std::shared_ptr<Plan>> build_checked(const Message& model, const CompileOptions& options,
                                            std::optional<double> tolerance, SelfCheckReport& report) {
  const Folder folder;
  const std::string path = folder.file("model.onnx");
  EXPECT_TRUE(write_file_atomically(path, {model.bytes()}));
  SelfCheckOptions check;
  check.shapes = {{"x", {5, 64}}};
  check.tolerance = tolerance;
  return compile_checked(path, options, check, nullptr, &report);
}

// FP16 gives up the steps that overflow, BF16 none.
TEST(CudaBf16, KeepsNothingInFp32ForItsRange) {
  CompileOptions in_fp16 = for_device();
  in_fp16.fp16 = true;
  SelfCheckReport report;
  auto halves = build_checked(large_numbers(), in_fp16, {}, report);
  ASSERT_TRUE(halves) << halves.error().message;
  EXPECT_FALSE(report.kept_in_fp32.empty());
  auto bf16 = build_checked(large_numbers(), in_bf16(), {}, report);
  ASSERT_TRUE(bf16) << bf16.error().message;
  EXPECT_TRUE(report.done);
  EXPECT_TRUE(report.kept_in_fp32.empty());
  EXPECT_EQ(report.tolerance, kBf16Tolerance);
  EXPECT_EQ((*bf16)->meta.count("kept_in_fp32"), 0U);
  EXPECT_EQ(count_half_steps((*bf16)->graph, DType::kBFloat16), 2);
}

// Where a smaller tolerance asks for more, steps go back to FP32.
TEST(CudaBf16, StepsGoBackToFp32) {
  SelfCheckReport report;
  auto plan = build_checked(large_numbers(), in_bf16(), 1e-5, report);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_LE(report.error, 1e-5);
  EXPECT_EQ(report.kept_in_fp32.size(), 2U);
  EXPECT_NE(report.to_string().find("2 of 2 steps kept in FP32"), std::string::npos) << report.to_string();
  EXPECT_NE(report.to_string().find("with all in BF16"), std::string::npos) << report.to_string();
  EXPECT_NE((*plan)->meta.at("kept_in_fp32").find("BF16 would exceed the tolerance"), std::string::npos);
  EXPECT_EQ(count_half_steps((*plan)->graph, DType::kBFloat16), 0);
  // Not even FP32 is exact.
  plan = build_checked(large_numbers(), in_bf16(), 1e-12, report);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kAccuracy);
}

TEST(CudaBf16, NodesThatStayInFp32) {
  CompileOptions options = in_bf16();
  auto all = build(large_numbers().bytes(), options);
  ASSERT_TRUE(all) << all.error().message;
  options.fp32_nodes = {half_steps((*all)->graph, DType::kBFloat16).at(0).name};
  auto kept = build(large_numbers().bytes(), options);
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(count_half_steps((*kept)->graph, DType::kBFloat16), 1);
}

std::string refusal_of(CompileOptions options) {
  options.bf16 = true;
  auto plan = build(dense_model().bytes(), options);
  return plan ? "" : plan.error().message;
}

TEST(CudaBf16, RefusedInOneSentence) {
  CompileOptions both = for_device(), old = for_device();
  both.fp16 = true;
  old.sm = 75;
  EXPECT_NE(refusal_of(both).find("exclude each other"), std::string::npos) << refusal_of(both);
  EXPECT_NE(refusal_of(old).find("BF16 needs a GPU of compute capability 8.0 or newer (Ampere), this one has 7.5"),
            std::string::npos)
      << refusal_of(old);
  EXPECT_EQ(refusal_of(for_device()), "");
  // A permission on CPUs.
  EXPECT_EQ(refusal_of({}), "");
}

}  // namespace
}  // namespace hussar::tests
