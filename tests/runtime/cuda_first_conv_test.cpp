// The beginning of an INT8 network on a GPU: its first convolution multiplies floats and writes bytes, which are
// pooled.
#include <gtest/gtest.h>

#include <cmath>

#include "compile/compile.h"
#include "compile/fp8.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

Message first_layers() {
  auto ints = [](const char* name, std::vector<int64_t> values) { return attribute(name, std::move(values)); };
  return model(graph({{node("Conv", {"x", "v"}, {"a"}, {ints("strides", {2, 2}), ints("pads", {3, 3, 3, 3})}),
                       node("Relu", {"a"}, {"b"}),
                       node("MaxPool", {"b"}, {"p"},
                            {ints("kernel_shape", {3, 3}), ints("strides", {2, 2}), ints("pads", {1, 1, 1, 1})}),
                       node("Conv", {"p", "w"}, {"c"}), node("Relu", {"c"}, {"d"}),
                       node("Conv", {"d", "u"}, {"y"}, {ints("pads", {1, 1, 1, 1})})},
                      {value("x", {16, 3, 37, 33})},
                      {any_shape("y")},
                      {tensor_of("v", DType::kFloat32, {64, 3, 7, 7}, numbers(64 * 147, 7)),
                       tensor_of("w", DType::kFloat32, {64, 64, 1, 1}, numbers(64 * 64, 5)),
                       tensor_of("u", DType::kFloat32, {64, 64, 3, 3}, numbers(64 * 64 * 9, 3))}}));
}

void expect_bytes_from_the_first_on(CompileOptions options, int sm, double tolerance) {
  SCOPED_TRACE(sm);
  CompileOptions reference;
  reference.reference_only = true;
  reference.quantization = options.quantization;
  auto expected = build(first_layers().bytes(), reference);
  ASSERT_TRUE(expected) << expected.error().message;
  const std::vector<float> wanted = first_output_of(*expected);
  options.sm = sm;
  auto plan = build(first_layers().bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  std::vector<std::string> ops;
  for (const PlanStep& step : (*plan)->graph.steps) ops.push_back(step.op);
  auto count = [&](const char* op) { return std::count(ops.begin(), ops.end(), op); };
  ASSERT_EQ(count("hussar.ConvToBytes"), 1) << (*plan)->graph.steps[0].report;
  EXPECT_EQ(count("QuantizeLinear"), 0);
  EXPECT_EQ(count("MaxPool"), 1);
  EXPECT_EQ(count("hussar.QuantizedConv"), 2);
  // The first convolution reads the picture itself.
  EXPECT_EQ(ops.front(), "hussar.ConvToBytes");
  EXPECT_LT(largest_difference(first_output_of(*plan), wanted), tolerance);
  auto rebuilt = compile_plan(**plan, {});
  ASSERT_TRUE(rebuilt) << rebuilt.error().message;
  EXPECT_LT(largest_difference(first_output_of(std::make_shared<const Plan>(std::move(*rebuilt))), wanted), tolerance)
      << "built again";
}

// In halves: the picture is rounded by the kernel that reads it, one for large pictures and one for few blocks of them.
TEST(CudaFirstConv, ReadsFloats) {
  CompileOptions options = for_device();
  const bool emulated = is_emulated(use_test_device());
  if (!emulated && options.sm < 80) GTEST_SKIP() << "skipped: needs tensor cores";
  options.fp16 = true;
  auto ints = [](const char* name, std::vector<int64_t> values) { return attribute(name, std::move(values)); };
  for (int64_t kernel : {3, 11}) {
    const Message layers =
        model(graph({{node("Conv", {"x", "v"}, {"a"}, {ints("strides", {2, 2}), ints("pads", {1, 1, 1, 1})}),
                      node("Sigmoid", {"a"}, {"s"}), node("Mul", {"a", "s"}, {"b"}), node("Conv", {"b", "w"}, {"y"})},
                     {value("x", {2, 3, 161, 90})},
                     {any_shape("y")},
                     {tensor_of("v", DType::kFloat32, {128, 3, kernel, kernel},
                                numbers(static_cast<size_t>(128 * 3 * kernel * kernel), 7)),
                      tensor_of("w", DType::kFloat32, {8, 128, 1, 1}, numbers(8 * 128, 5))}}));
    CompileOptions reference;
    reference.reference_only = true;
    auto expected = build(layers.bytes(), reference);
    ASSERT_TRUE(expected) << expected.error().message;
    for (int sm : emulated ? std::vector<int>{80, 90} : std::vector<int>{options.sm}) {
      SCOPED_TRACE(testing::Message() << sm << " " << kernel);
      options.sm = sm;
      auto plan = build(layers.bytes(), options);
      ASSERT_TRUE(plan) << plan.error().message;
      const PlanStep& first = (*plan)->graph.steps[0];
      const char* reader = kernel == 3 ? "cuda_conv_picture" : sm == 90 ? "cuda_conv_lines" : "";
      if (*reader != '\0') {
        EXPECT_EQ(first.kernel, reader) << first.report;
      }
      EXPECT_LT(largest_difference(first_output_of(*plan), first_output_of(*expected)), 1e-2);
    }
  }
}

// The factors of smoothed channels are in the scales of the weights.
TEST(CudaFirstConv, FactorsOfChannelsCostNothing) {
  CompileOptions options = for_device();
  if (!is_emulated(use_test_device()) && options.sm < 80) GTEST_SKIP() << "skipped: needs tensor cores";
  if (is_emulated(use_test_device())) options.sm = 90;
  options.fp16 = true;
  options.chooses_int8 = false;
  std::vector<float> divisors(64);
  for (size_t i = 0; i < divisors.size(); ++i) divisors[i] = 0.5F + 0.25F * static_cast<float>(i % 7);
  auto quantization = std::make_shared<Quantization>();
  quantization->activations = {{"p", {2.5F / 255, 0}}, {Quantization::smoothed_name("d"), {12.0F / 255, 0}}};
  quantization->divisors = {{"d", divisors}};
  options.quantization = quantization;
  auto plan = build(first_layers().bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  int products = 0;
  for (const PlanStep& step : (*plan)->graph.steps) {
    if (step.op != "hussar.QuantizedConv") continue;
    ++products;
    EXPECT_TRUE(!step.program || step.program->operand_count == 0) << step.report;
  }
  EXPECT_EQ(products, 2);
  CompileOptions reference;
  reference.reference_only = true;
  reference.quantization = quantization;
  auto expected = build(first_layers().bytes(), reference);
  ASSERT_TRUE(expected) << expected.error().message;
  EXPECT_LT(largest_difference(first_output_of(*plan), first_output_of(*expected)), 3e-2);
}

TEST(CudaFirstConv, WritesBytes) {
  CompileOptions options = for_device();
  const bool emulated = is_emulated(use_test_device());
  if (!emulated && options.sm < 80) GTEST_SKIP() << "skipped: needs tensor cores";
  options.fp16 = true;
  options.chooses_int8 = false;
  auto quantization = std::make_shared<Quantization>();
  quantization->activations = {{"p", {2.5F / 255, 0}}, {"d", {6.0F / 255, 0}}};
  options.quantization = quantization;
  const std::vector<int> architectures = emulated ? std::vector<int>{80, 90} : std::vector<int>{options.sm};
  for (int sm : architectures) expect_bytes_from_the_first_on(options, sm, 3e-2);
  options.quantization = in_fp8(*quantization);
  if (emulated || options.sm == 90) expect_bytes_from_the_first_on(options, 90, 1e-1);
}

}  // namespace
}  // namespace hussar::tests
