// The head of a detector on a GPU: scores of three sizes, joined in plain data by one step, and sides of boxes.
#include <gtest/gtest.h>

#include <algorithm>

#include "compile/compile.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

Message head() {
  std::vector<Message> nodes;
  std::vector<Message> inputs, constants;
  const char* const names[] = {"a", "b", "c"};
  std::vector<std::string> parts;
  for (int i = 0; i < 3; ++i) {
    const std::string name = names[i];
    const int64_t size = 8 >> i;
    inputs.push_back(value(name, {2, 16, size, size}));
    constants.push_back(tensor_of(name + "w", DType::kFloat32, {24, 16, 1, 1}, numbers(24 * 16, 7 + i)));
    nodes.push_back(node("Conv", {name, name + "w"}, {name + "y"}));
    nodes.push_back(node("Reshape", {name + "y", "shape"}, {name + "z"}));
    parts.push_back(name + "z");
  }
  constants.push_back(tensor_of("shape", DType::kInt64, {3}, std::vector<int64_t>{2, 24, -1}));
  nodes.push_back(node("Concat", parts, {"j"}, {attribute("axis", int64_t{2})}));
  nodes.push_back(node("Sigmoid", {"j"}, {"y"}));
  return model(graph({nodes, inputs, {any_shape("y")}, constants}));
}

std::vector<std::string> kernels_of(const Plan& plan) {
  std::vector<std::string> kernels;
  for (const PlanStep& step : plan.graph.steps) {
    if (step.kernel != "view") kernels.push_back(step.kernel);
  }
  return kernels;
}

TEST(CudaJoin, ScoresOfThreeSizes) {
  CompileOptions reference;
  reference.reference_only = true;
  auto exact = build(head().bytes(), reference);
  ASSERT_TRUE(exact) << exact.error().message;
  const std::vector<float> wanted = first_output_of(*exact);
  auto plan = build(head().bytes(), for_device());
  ASSERT_TRUE(plan) << plan.error().message;
  const std::vector<std::string> kernels = kernels_of(**plan);
  EXPECT_EQ(std::count(kernels.begin(), kernels.end(), "cuda_concat_transposed"), 1);
  const auto& steps = (*plan)->graph.steps;
  EXPECT_EQ(
      std::count_if(steps.begin(), steps.end(), [](const PlanStep& step) { return step.op == "hussar.Reformat"; }),
      3);  // of the inputs
  EXPECT_EQ(std::count(kernels.begin(), kernels.end(), "cuda_elementwise"), 0);
  EXPECT_LT(largest_difference(first_output_of(*plan), wanted), 1e-5);
  // Built again for a CPU, which has no such kernel.
  auto on_host = compile_plan(**plan, {});
  ASSERT_TRUE(on_host) << on_host.error().message;
  EXPECT_LT(largest_difference(first_output_of(std::make_shared<const Plan>(std::move(*on_host))), wanted), 1e-5);
}

// The sides of boxes, each the mean of a distribution.
TEST(CudaJoin, SidesOfBoxes) {
  const auto axis = attribute("axis", int64_t{1}), dropped = attribute("keepdims", int64_t{0});
  const auto turn = node("Transpose", {"x"}, {"t"}, {attribute("perm", std::vector<int64_t>{0, 2, 1, 3})});
  std::vector<float> bins(16);
  for (size_t i = 0; i < bins.size(); ++i) bins[i] = static_cast<float>(i);
  const Message boxes = model(graph({{turn, node("Softmax", {"t"}, {"p"}, {axis}), node("Mul", {"p", "bins"}, {"m"}),
                                      node("ReduceSum", {"m", "axes"}, {"s"}, {dropped}), node("Sqrt", {"s"}, {"y"})},
                                     {value("x", {3, 4, 16, 50})},
                                     {any_shape("y")},
                                     {tensor_of("bins", DType::kFloat32, {1, 16, 1, 1}, bins),
                                      tensor_of("axes", DType::kInt64, {1}, std::vector<int64_t>{1})}}));
  CompileOptions reference;
  reference.reference_only = true;
  auto exact = build(boxes.bytes(), reference);
  ASSERT_TRUE(exact) << exact.error().message;
  const std::vector<float> wanted = first_output_of(*exact);
  for (bool halves : {false, true}) {
    CompileOptions options = for_device();
    options.fp16 = halves;
    auto plan = build(boxes.bytes(), options);
    ASSERT_TRUE(plan) << plan.error().message;
    const std::vector<std::string> kernels = kernels_of(**plan);
    EXPECT_EQ(std::count(kernels.begin(), kernels.end(), "cuda_softmax_mean"), 1);
    EXPECT_EQ(std::count(kernels.begin(), kernels.end(), "cuda_softmax"), 0);
    EXPECT_EQ(std::count(kernels.begin(), kernels.end(), "cuda_copy"), 0);  // nor is x transposed
    EXPECT_LT(largest_difference(first_output_of(*plan), wanted), halves ? 2e-3 : 1e-5);
    auto on_host = compile_plan(**plan, {});
    ASSERT_TRUE(on_host) << on_host.error().message;
    EXPECT_LT(largest_difference(first_output_of(std::make_shared<const Plan>(std::move(*on_host))), wanted),
              halves ? 2e-3 : 1e-5);
  }
  // What is no mean along the axis of the softmax stays.
  const Message others = model(graph({{node("Softmax", {"x"}, {"p"}, {axis}), node("Mul", {"p", "bins"}, {"m"}),
                                       node("ReduceSum", {"m", "axes"}, {"y"}, {dropped})},
                                      {value("x", {3, 16, 4, 16})},
                                      {any_shape("y")},
                                      {tensor_of("bins", DType::kFloat32, {1, 1, 1, 16}, bins),
                                       tensor_of("axes", DType::kInt64, {1}, std::vector<int64_t>{1})}}));
  auto plan = build(others.bytes(), for_device());
  ASSERT_TRUE(plan) << plan.error().message;
  const std::vector<std::string> kernels = kernels_of(**plan);
  EXPECT_EQ(std::count(kernels.begin(), kernels.end(), "cuda_softmax_mean"), 0);
}

}  // namespace
}  // namespace hussar::tests
