// Transposed convolutions whose kernel is as large as the stride, against the reference evaluator.
#include <gtest/gtest.h>

#include "tests/kernels/kernel_case.h"
#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

KernelCase patch_case(const Shape& input, const Shape& filter, int64_t gap) {
  KernelCase test{.kernel = "conv_transpose_patch", .op = "ConvTranspose", .inputs = {}};
  test.attributes.set("strides", Ints(filter.begin() + 2, filter.end()));
  test.inputs.push_back({random_tensor(DType::kFloat32, input, -1, 1), false, Layout::kChannelsLast, gap});
  test.inputs.push_back({random_tensor(DType::kFloat32, filter, -1, 1), true});
  if (pick(0, 1) == 1) test.inputs.push_back({random_tensor(DType::kFloat32, {filter[1]}), true});
  test.output_layout = Layout::kChannelsLast;
  test.output_gap = gap;
  test.tolerance = 1e-4;
  return test;
}

TEST(ConvTransposePatch, RandomShapes) {
  for (int i = 0; i < 60; ++i) {
    const int64_t channels = pick(1, 40), filters = pick(0, 2) == 0 ? 1 : pick(1, 40), gap = pick(0, 1) * 3;
    Shape input = {pick(1, 2), channels}, filter = {channels, filters};
    for (int axis = static_cast<int>(pick(0, 2)); axis < 3; ++axis) {
      input.push_back(pick(1, 9));
      filter.push_back(pick(1, 4));
    }
    expect_kernel_agrees(patch_case(input, filter, gap));
    if (HasFatalFailure()) return;
  }
}

// More than one stretch of a line, and shares that begin in the middle of one.
TEST(ConvTransposePatch, LongLines) {
  expect_kernel_agrees(patch_case({1, 24, 2, 999}, {24, 20, 2, 3}, 0));
  expect_kernel_agrees(patch_case({1, 5, 3, 7000}, {5, 1, 2, 2}, 0));
}

TEST(ConvTransposePatch, LeavesTheRestToOthers) {
  auto refusal = [](const char* name, const Ints& value) {
    KernelCase test = patch_case({1, 4, 5, 5}, {4, 3, 2, 2}, 0);
    test.attributes.set(name, value);
    return refusal_of(test).value_or("taken");
  };
  EXPECT_EQ(refusal("strides", {2, 2}), "taken");
  EXPECT_EQ(refusal("strides", {2, 1}), "kernel is not as large as the stride");
  EXPECT_EQ(refusal("pads", {0, 0, 1, 0}), "pads");
  EXPECT_EQ(refusal("output_padding", {0, 1}), "pads");
  EXPECT_EQ(refusal("dilations", {2, 2}), "dilation");
}

// Every form of epilogue: what the tiles do, a program, and a residual, whose order is the output's.
TEST(ConvTransposePatch, FusedWork) {
  for (const char* activation : {"Relu", "Sigmoid", "HardSwish", "Add"}) {
    const bool adds = std::string(activation) == "Add";
    std::vector<float> weights(4 * 3 * 4);
    for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.1F * static_cast<float>(static_cast<int>(i % 13) - 6);
    const std::vector<int64_t> twos = {2, 2};
    // The convolution before it makes the layout channels-last, which a model without convolutions does not choose.
    Message bytes = model(graph(
        {{node("Conv", {"x", "u"}, {"a"}), node("ConvTranspose", {"a", "w", "b"}, {"c"}, {attribute("strides", twos)}),
          node(activation, adds ? std::vector<std::string>{"c", "r"} : std::vector<std::string>{"c"}, {"y"})},
         {value("x", {1, 4, 6, 5}), value("r", {1, 3, 12, 10})},
         {any_shape("y")},
         {tensor_of("u", DType::kFloat32, {4, 4, 1, 1}, std::vector<float>(weights.begin(), weights.begin() + 16)),
          tensor_of("w", DType::kFloat32, {4, 3, 2, 2}, weights),
          tensor_of("b", DType::kFloat32, {3}, std::vector<float>{0.5F, -1.0F, 0.25F})}}));
    CompileOptions reference;
    reference.reference_only = true;
    auto plan = build(bytes.bytes()), plain = build(bytes.bytes(), reference);
    ASSERT_TRUE(plan && plain) << (plan ? plain.error() : plan.error()).message;
    bool is_used = false;
    for (const PlanStep& step : (*plan)->graph.steps) is_used |= step.kernel == "conv_transpose_patch";
    EXPECT_TRUE(is_used) << activation;
    auto inputs = make_inputs(**plan, 7, 1, 10000);
    auto session = Session::create(*plan), plain_session = Session::create(*plain);
    ASSERT_TRUE(session && plain_session);
    auto fast = (*session)->run_in_order(*inputs), slow = (*plain_session)->run_in_order(*inputs);
    ASSERT_TRUE(fast && slow);
    for (int64_t i = 0; i < (*slow)[0].elements(); ++i) {
      ASSERT_NEAR((*fast)[0].data<float>()[i], (*slow)[0].data<float>()[i], 1e-5) << activation << " at " << i;
    }
  }
}

}  // namespace
}  // namespace hussar
