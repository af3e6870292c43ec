// The check of a plan on samples of the user's: what made-up inputs do not show.
#include <gtest/gtest.h>

#include "base/file.h"
#include "compile/self_check.h"
#include "tests/support/device_models.h"
#include "tests/support/folder.h"

namespace hussar::tests {
namespace {

// Between the products lie sums of 64 elements of x: halves hold them while x is small.
Message two_products_model() {
  return model(graph({{node("MatMul", {"x", "ones"}, {"sums"}), node("MatMul", {"sums", "small"}, {"y"})},
                      {value("x", {4, 64})},
                      {any_shape("y")},
                      {tensor_of("ones", DType::kFloat32, {64, 64}, std::vector<float>(64 * 64, 1.0F)),
                       tensor_of("small", DType::kFloat32, {64, 64}, std::vector<float>(64 * 64, 0x1p-14F))}}));
}

std::vector<Tensor> rows_of(float value) {
  Tensor x(DType::kFloat32, Shape{4, 64});
  for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] = value;
  return {x};
}

struct Checked {
  Result<std::shared_ptr<Plan>> plan;
  SelfCheckReport report;
};
Checked check(const std::vector<std::vector<Tensor>>& samples, const CompileOptions& options) {
  const Folder folder;
  const std::string path = folder.file("model.onnx");
  const Message model = two_products_model();
  EXPECT_TRUE(write_file_atomically(path, {model.bytes()}));
  SelfCheckOptions check;
  check.samples = samples;
  SelfCheckReport report;
  auto plan = compile_checked(path, options, check, nullptr, &report);
  return {std::move(plan), report};
}

TEST(SelfCheckSamples, KeepFp32WhereTheyNeedIt) {
  CompileOptions options = for_device();
  options.fp16 = true;
  const Checked made_up = check({}, options);
  ASSERT_TRUE(made_up.plan) << made_up.plan.error().message;
  EXPECT_TRUE(made_up.report.kept_in_fp32.empty());
  EXPECT_EQ(made_up.report.samples, 0U);
  const Checked small = check({rows_of(1), rows_of(-2)}, options);
  ASSERT_TRUE(small.plan) << small.plan.error().message;
  EXPECT_TRUE(small.report.kept_in_fp32.empty());
  EXPECT_EQ(small.report.samples, 2U);
  // The second sample alone is beyond halves.
  const Checked large = check({rows_of(1), rows_of(3000)}, options);
  ASSERT_TRUE(large.plan) << large.plan.error().message;
  EXPECT_FALSE(large.report.kept_in_fp32.empty());
  EXPECT_LE(large.report.error, large.report.tolerance);
  EXPECT_NE(large.report.to_string().find("on 2 of the data's samples"), std::string::npos) << large.report.to_string();
}

// Its products read the norm as bytes of this step, by Q and DQ of its own or, with 0, by a calibration.
Message norm_and_product(float step) {
  constexpr int64_t kWidth = 128;
  std::vector<float> identity(kWidth * kWidth, 0.0F);
  for (size_t i = 0; i < kWidth; ++i) identity[i * (kWidth + 1)] = 1;
  std::vector<int8_t> bytes(identity.begin(), identity.end());
  std::vector<Message> nodes = {node("LayerNormalization", {"x", "s"}, {"n"})};
  if (step > 0) {
    nodes.push_back(node("QuantizeLinear", {"n", "step", "zero"}, {"q"}));
    nodes.push_back(node("DequantizeLinear", {"q", "step", "zero"}, {"d"}));
    nodes.push_back(node("DequantizeLinear", {"w8", "one"}, {"w"}));
  }
  nodes.push_back(node("MatMul", {step > 0 ? "d" : "n", "w"}, {"y"}));
  std::vector<Message> tensors = {tensor_of("s", DType::kFloat32, {kWidth}, std::vector<float>(kWidth, 1.0F))};
  if (step > 0) {
    tensors.push_back(tensor_of("step", DType::kFloat32, {}, std::vector<float>{step}));
    tensors.push_back(tensor_of("zero", DType::kUInt8, {}, std::vector<uint8_t>{128}));
    tensors.push_back(tensor_of("one", DType::kFloat32, {}, std::vector<float>{1}));
    tensors.push_back(tensor_of("w8", DType::kInt8, {kWidth, kWidth}, bytes));
  } else {
    tensors.push_back(tensor_of("w", DType::kFloat32, {kWidth, kWidth}, identity));
  }
  return model(graph({nodes, {value("x", {64, kWidth})}, {any_shape("y")}, tensors}));
}

// Bytes of coarse steps made of halves: a few are others than those made of exact numbers, by a step.
void expect_bytes_may_differ(const Message& model, CompileOptions options) {
  const Folder folder;
  ASSERT_TRUE(write_file_atomically(folder.file("model.onnx"), {model.bytes()}));
  SelfCheckOptions check;
  SelfCheckReport report;
  auto plan = compile_checked(folder.file("model.onnx"), options, check, nullptr, &report);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_GT(report.error, report.tolerance);
  ASSERT_TRUE(report.of_rounding);
  EXPECT_LT(*report.of_rounding, 0.3);
  EXPECT_NE(report.to_string().find("of what rounding to bytes costs"), std::string::npos) << report.to_string();
  // What the user allows is all that is allowed.
  check.tolerance = report.tolerance;
  plan = compile_checked(folder.file("model.onnx"), options, check, nullptr, &report);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kAccuracy);
}

TEST(SelfCheckSamples, SingleBytesMayDiffer) {
  CompileOptions options = for_device();
  options.fp16 = true;
  options.chooses_int8 = false;
  expect_bytes_may_differ(norm_and_product(1), options);
  auto quantization = std::make_shared<Quantization>();
  quantization->activations = {{"n", {0.25F, 128}}};
  options.quantization = quantization;
  expect_bytes_may_differ(norm_and_product(0), options);
}

TEST(SelfCheckSamples, ThatDoNotFitAreNoCheck) {
  CompileOptions options;
  options.threads = 1;
  const Checked outcome = check({{Tensor(DType::kFloat32, Shape{4, 63})}}, options);
  ASSERT_TRUE(outcome.plan) << outcome.plan.error().message;
  EXPECT_FALSE(outcome.report.done);
  EXPECT_NE(outcome.report.skipped.find("the reference cannot run these inputs"), std::string::npos);
}

}  // namespace
}  // namespace hussar::tests
