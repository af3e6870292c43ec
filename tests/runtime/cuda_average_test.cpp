// INT8 networks on a GPU keep their bytes through averages of windows and of images.
#include <gtest/gtest.h>

#include "compile/compile.h"
#include "compile/fp8.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

Message averages() {
  auto ints = [](const char* name, std::vector<int64_t> values) { return attribute(name, std::move(values)); };
  return model(graph({{node("Conv", {"x", "t"}, {"e"}), node("Relu", {"e"}, {"z"}),
                       node("Conv", {"z", "v"}, {"a"}, {ints("pads", {1, 1, 1, 1})}), node("Relu", {"a"}, {"b"}),
                       node("AveragePool", {"b"}, {"p"}, {ints("kernel_shape", {2, 2}), ints("strides", {2, 2})}),
                       node("Conv", {"p", "w"}, {"c"}, {ints("pads", {1, 1, 1, 1})}), node("Relu", {"c"}, {"d"}),
                       node("GlobalAveragePool", {"d"}, {"g"}), node("Conv", {"g", "u"}, {"y"})},
                      {value("x", {8, 64, 20, 18})},
                      {any_shape("y")},
                      {tensor_of("t", DType::kFloat32, {64, 64, 1, 1}, numbers(64 * 64, 11)),
                       tensor_of("v", DType::kFloat32, {64, 64, 3, 3}, numbers(64 * 64 * 9, 7)),
                       tensor_of("w", DType::kFloat32, {64, 64, 3, 3}, numbers(64 * 64 * 9, 5)),
                       tensor_of("u", DType::kFloat32, {32, 64, 1, 1}, numbers(32 * 64, 3))}}));
}

CompileOptions options_of(std::shared_ptr<const Quantization> quantization) {
  CompileOptions options = for_device();
  options.chooses_int8 = false;
  options.quantization = std::move(quantization);
  return options;
}

Quantization ranges() {
  Quantization quantization;
  quantization.activations = {{"z", {2.0F / 255, 0}},
                              {"b", {2.0F / 255, 0}},
                              {"p", {2.0F / 255, 0}},
                              {"d", {4.0F / 255, 0}},
                              {"g", {2.0F / 255, 0}}};
  return quantization;
}

int count(const Plan& plan, std::string_view op) {
  return static_cast<int>(std::count_if(plan.graph.steps.begin(), plan.graph.steps.end(),
                                        [&](const PlanStep& step) { return step.op == op; }));
}

std::vector<float> expected_outputs(const CompileOptions& options) {
  CompileOptions reference;
  reference.reference_only = true;
  reference.quantization = options.quantization;
  auto plan = build(averages().bytes(), reference);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? first_output_of(*plan) : std::vector<float>();
}

TEST(CudaAverages, ReadAndWriteBytes) {
  for (bool halves : {false, true}) {
    SCOPED_TRACE(halves);
    CompileOptions options = options_of(std::make_shared<Quantization>(ranges()));
    const bool emulated = is_emulated(use_test_device());
    if (!emulated && options.sm < 80) GTEST_SKIP() << "skipped: needs tensor cores";
    if (emulated && halves) options.sm = 80;
    options.fp16 = halves;
    auto plan = build(averages().bytes(), options);
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(count(**plan, "hussar.AverageBytes"), 1);
    EXPECT_EQ(count(**plan, "hussar.GlobalAverageBytes"), 1);
    EXPECT_EQ(count(**plan, "AveragePool") + count(**plan, "GlobalAveragePool"), 0);
    for (const PlanStep& step : (*plan)->graph.steps) {
      if (step.op.find("AverageBytes") == std::string::npos) continue;
      EXPECT_TRUE(step.kernel == "cuda_pool" || step.kernel == "cuda_reduce") << step.report;
    }
    EXPECT_LT(largest_difference(first_output_of(*plan), expected_outputs(options)), 2e-2);
  }
}

TEST(CudaAverages, FloatsOf8BitsAreAveragedAsFloats) {
  CompileOptions options = options_of(in_fp8(ranges()));
  const bool emulated = is_emulated(use_test_device());
  if (!emulated && options.sm < 89) GTEST_SKIP() << "skipped: needs FP8";
  if (emulated) options.sm = 90;
  options.fp16 = true;
  auto plan = build(averages().bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(count(**plan, "hussar.AverageBytes") + count(**plan, "hussar.GlobalAverageBytes"), 0);
  EXPECT_LT(largest_difference(first_output_of(*plan), expected_outputs(options)), 1e-1);
}

}  // namespace
}  // namespace hussar::tests
