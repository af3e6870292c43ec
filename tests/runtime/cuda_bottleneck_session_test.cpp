// Residual networks for Hopper whose bottlenecks are one step, beside the same ones in two.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "compile/compile.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

// Two blocks of bottlenecks behind a convolution. Of the batch nothing is known: passes take it for a large one.
Message residual_network() {
  const auto pads = attribute("pads", std::vector<int64_t>{1, 1, 1, 1});
  return model(graph(
      {{node("Conv", {"x", "stem"}, {"x1"}), node("Relu", {"x1"}, {"s0"}), node("Conv", {"s0", "r1"}, {"a"}),
        node("Relu", {"a"}, {"a1"}), node("Conv", {"a1", "m1", "bias"}, {"b"}, {pads}), node("Relu", {"b"}, {"b1"}),
        node("Conv", {"b1", "e1"}, {"c"}), node("Add", {"c", "s0"}, {"d"}), node("Relu", {"d"}, {"s1"}),
        node("Conv", {"s1", "r2"}, {"e"}), node("Relu", {"e"}, {"a2"}), node("Conv", {"a2", "m2"}, {"f"}, {pads}),
        node("Relu", {"f"}, {"b2"}), node("Conv", {"b2", "e2"}, {"g"}), node("Add", {"g", "s1"}, {"h"}),
        node("Relu", {"h"}, {"s2"}), node("GlobalAveragePool", {"s2"}, {"p"}), node("Conv", {"p", "last"}, {"y"})},
       {value("x", {"N", 64, 32, 30})},
       {any_shape("y")},
       {tensor_of("stem", DType::kFloat32, {128, 64, 1, 1}, numbers(128 * 64, 11)),
        tensor_of("r1", DType::kFloat32, {64, 128, 1, 1}, numbers(64 * 128, 7)),
        tensor_of("m1", DType::kFloat32, {64, 64, 3, 3}, numbers(64 * 64 * 9, 5)),
        tensor_of("bias", DType::kFloat32, {64}, numbers(64, 3)),
        tensor_of("e1", DType::kFloat32, {128, 64, 1, 1}, numbers(128 * 64, 13)),
        tensor_of("r2", DType::kFloat32, {64, 128, 1, 1}, numbers(64 * 128, 17)),
        tensor_of("m2", DType::kFloat32, {64, 64, 3, 3}, numbers(64 * 64 * 9, 19)),
        tensor_of("e2", DType::kFloat32, {128, 64, 1, 1}, numbers(128 * 64, 3)),
        tensor_of("last", DType::kFloat32, {16, 128, 1, 1}, numbers(16 * 128, 9))}}));
}

std::shared_ptr<const Quantization> ranges() {
  Quantization quantization;
  for (const char* name : {"x", "s0", "a1", "b1", "s1", "a2", "b2", "s2"})
    quantization.activations[name] = {name[0] == 'x' ? 1.0F / 128 : 2.0F / 255, name[0] == 'x' ? 128 : 0};
  quantization.activations["p"] = {1.0F / 255, 0};
  return std::make_shared<Quantization>(quantization);
}

std::vector<CompileOptions> forms() {
  std::vector<CompileOptions> list(2, for_device());
  for (CompileOptions& options : list) {
    options.fp16 = true;
    options.chooses_int8 = false;
    if (is_emulated(use_test_device())) options.sm = 90;
  }
  list[1].quantization = ranges();
  return list;
}

std::shared_ptr<const Plan> plan_of(const CompileOptions& options) {
  auto plan = build(residual_network().bytes(), options);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? *plan : nullptr;
}

std::multiset<std::string> steps_of(const Plan& plan) {
  std::multiset<std::string> steps;
  for (const PlanStep& step : plan.graph.steps) steps.insert(step.op + " by " + step.kernel);
  return steps;
}

size_t bottlenecks(const Plan& plan) { return steps_of(plan).count("hussar.Bottleneck by cuda_bottleneck"); }

TEST(CudaBottleneckSession, OneStepForTwo) {
  for (CompileOptions options : forms()) {
    if (options.sm != 90) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
    const auto plan = plan_of(options);
    options.disabled_passes = {"fuse_bottleneck"};
    const auto parts = plan_of(options);
    ASSERT_TRUE(plan && parts);
    EXPECT_EQ(bottlenecks(*plan), 2U);
    EXPECT_EQ(bottlenecks(*parts), 0U);
    EXPECT_EQ(plan->graph.steps.size() + 2, parts->graph.steps.size());
    const std::vector<float> outputs = first_output_of(plan), wanted = first_output_of(parts);
    // Of bytes all sums are exact.
    EXPECT_LE(largest_difference(outputs, wanted), options.quantization != nullptr ? 0 : 2e-3);
    EXPECT_GT(*std::max_element(wanted.begin(), wanted.end()), *std::min_element(wanted.begin(), wanted.end()));
  }
}

TEST(CudaBottleneckSession, RebuiltForCpusAndOtherGpus) {
  for (CompileOptions options : forms()) {
    if (options.sm != 90) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
    const auto plan = plan_of(options);
    CompileOptions in_parts = options;
    in_parts.disabled_passes = {"fuse_bottleneck"};
    const auto parts = plan_of(in_parts);
    ASSERT_TRUE(plan && parts);
    CompileOptions older = options;
    older.sm = 80;
    std::vector<CompileOptions> targets = {CompileOptions{}, options};
    if (is_emulated(use_test_device())) targets.push_back(older);
    for (const CompileOptions& target : targets) {
      auto moved = compile_plan(*plan, target), wanted = compile_plan(target.sm == 90 ? *plan : *parts, target);
      ASSERT_TRUE(moved) << moved.error().message;
      ASSERT_TRUE(wanted) << wanted.error().message;
      // As if there had never been any.
      EXPECT_EQ(steps_of(*moved), steps_of(*wanted));
      EXPECT_EQ(bottlenecks(*moved), target.sm == 90 ? 2U : 0U);
      EXPECT_LE(largest_difference(first_output_of(std::make_shared<Plan>(std::move(*moved))), first_output_of(plan)),
                2e-2);
    }
  }
}

}  // namespace
}  // namespace hussar::tests
