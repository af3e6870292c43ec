// Channels that a calibration divides become bytes in the normalization on a GPU, and the residual reads real numbers.
#include <gtest/gtest.h>

#include "compile/compile.h"
#include "compile/fp8.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

constexpr int64_t kWidth = 128, kInner = 256;

// A block of an encoder: norm(n + product(product(n))).
Message block() {
  return model(graph({{node("LayerNormalization", {"x", "s", "t"}, {"n"}), node("MatMul", {"n", "v"}, {"a"}),
                       node("Relu", {"a"}, {"b"}), node("MatMul", {"b", "w"}, {"c"}), node("Add", {"n", "c"}, {"d"}),
                       node("LayerNormalization", {"d", "s", "t"}, {"y"})},
                      {value("x", {24, 16, kWidth})},
                      {any_shape("y")},
                      {tensor_of("s", DType::kFloat32, {kWidth}, numbers(kWidth, 11)),
                       tensor_of("t", DType::kFloat32, {kWidth}, numbers(kWidth, 12)),
                       tensor_of("v", DType::kFloat32, {kWidth, kInner}, numbers(kWidth * kInner, 7)),
                       tensor_of("w", DType::kFloat32, {kInner, kWidth}, numbers(kWidth * kInner, 5))}}));
}

std::shared_ptr<Quantization> divided() {
  auto quantization = std::make_shared<Quantization>();
  quantization->activations = {
      {"n", {3.0F / 127, 128}}, {Quantization::smoothed_name("n"), {3.0F / 127, 128}}, {"b", {4.0F / 255, 0}}};
  std::vector<float>& divisors = quantization->divisors["n"];
  for (int64_t i = 0; i < kWidth; ++i) divisors.push_back(0.5F + 0.25F * static_cast<float>(i % 7));
  return quantization;
}

const PlanStep* step_of(const Plan& plan, std::string_view op) {
  for (const PlanStep& step : plan.graph.steps) {
    if (step.op == op) return &step;
  }
  return nullptr;
}

std::vector<float> expected_of(const std::shared_ptr<const Quantization>& quantization) {
  CompileOptions reference;
  reference.reference_only = true;
  reference.quantization = quantization;
  auto plan = build(block().bytes(), reference);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? first_output_of(*plan) : std::vector<float>();
}

void expect_divided(const std::shared_ptr<const Quantization>& quantization, bool halves, float tolerance) {
  CompileOptions options = for_device();
  options.chooses_int8 = false;
  options.fp16 = halves;
  options.quantization = quantization;
  auto plan = build(block().bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  const PlanStep* norm = step_of(**plan, "hussar.NormToBytes");
  ASSERT_NE(norm, nullptr);
  ASSERT_EQ(norm->inputs.size(), 4U);
  EXPECT_GE(norm->inputs[3], 0);
  EXPECT_GE(norm->outputs[1], 0) << "the residual reads numbers";
  EXPECT_EQ(step_of(**plan, "QuantizeLinear"), nullptr);
  const std::vector<float> expected = expected_of(quantization);
  EXPECT_LT(largest_difference(first_output_of(*plan), expected), tolerance);
  if (quantization->fp8) return;
  // On a CPU the bytes are a step of its own.
  auto moved = compile_plan(**plan, CompileOptions{});
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_NE(step_of(*moved, "QuantizeLinear"), nullptr);
  EXPECT_LT(largest_difference(first_output_of(std::make_shared<Plan>(std::move(*moved))), expected), tolerance);
}

TEST(CudaDividedBytes, AreRoundedInTheNormalization) {
  for (bool halves : {false, true}) expect_divided(divided(), halves, halves ? 3e-2F : 1e-2F);
}

TEST(CudaDividedBytes, InFp8) {
  if (!is_emulated(use_test_device()) && for_device().sm < 89) GTEST_SKIP() << "skipped: needs FP8";
  expect_divided(in_fp8(*divided()), true, 2e-1F);
}

}  // namespace
}  // namespace hussar::tests
