// Inverted residual blocks.
#include <algorithm>

#include "compile/freeze.h"
#include "tactics/choose.h"
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

constexpr std::string_view kPass = "fuse_inverted_residual";
constexpr std::string_view kFused = "hussar.InvertedResidual";

// The convolutions of one block as choose_layouts leaves them: channels-last.
struct BlockCase : GraphCase {
  Value* conv(Value* x, const Shape& filter, Attributes attributes = {}) {
    Value* y = make("Conv", {x, weights(filter), weights({filter[0]})}, std::move(attributes));
    y->dtype = DType::kFloat32;
    y->layout = Layout::kChannelsLast;
    return y;
  }
  Value* image(int64_t channels) {
    Value* x = input({Dim(1), Dim(channels), Dim(10), Dim(12)});
    x->layout = Layout::kChannelsLast;
    return x;
  }
  Value* depthwise(Value* x, int64_t channels, int64_t stride) {
    return conv(x, {channels, 1, 3, 3},
                with({{"group", channels}, {"strides", Ints{stride, stride}}, {"pads", Ints{1, 1, 1, 1}}}));
  }
  static void activate(Value* value, ProgramOp op, float low, float high) {
    Program program{};
    program.step_count = 1;
    program.steps[0] = {op, 0, 0, ProgramSource::kConstant, 0, {}, low, high};
    value->producer->program = program;
    value->producer->program_inputs = 3;
  }
};

TEST(PassFuseInvertedResidual, WholeBlockWithActivationsAndResidual) {
  BlockCase test;
  Value* x = test.image(8);
  Value* a = test.conv(x, {40, 8, 1, 1});
  Value* b = test.depthwise(a, 40, 1);
  Value* c = test.conv(b, {8, 40, 1, 1});
  BlockCase::activate(a, ProgramOp::kClip, 0, 6);
  BlockCase::activate(b, ProgramOp::kHardSwish, 0, 0);
  BlockCase::activate(c, ProgramOp::kAdd, 0, 0);
  c->producer->program->operand_count = 1;
  c->producer->program->steps[0].source = ProgramSource::kOperand;
  test.graph.append_input(c->producer, x);
  test.output(c);
  EXPECT_EQ(test.run(kPass), 1);
  EXPECT_EQ(test.count(kFused), 1);
  EXPECT_EQ(test.count("Conv"), 0);
}

TEST(PassFuseInvertedResidual, SaysWhatTheFormsTake) {
  BlockCase test;
  Value* y = test.conv(test.depthwise(test.conv(test.image(8), {40, 8, 1, 1}), 40, 1), {8, 40, 1, 1});
  test.output(y);
  EXPECT_EQ(test.run(kPass), 1);
  const std::string note = y->producer->note;
  EXPECT_EQ(note.rfind("fuse_inverted_residual: fused, predicted ", 0), 0U) << note;
  EXPECT_NE(note.find(" us (apart "), std::string::npos) << note;
  // A plan tells it.
  auto plan = freeze(test.graph, Target{}, [](const Problem& problem) { return choose(problem); });
  ASSERT_TRUE(plan) << plan.error().message;
  auto tells = [&](const PlanStep& step) { return step.report.find(note) != std::string::npos; };
  EXPECT_EQ(std::count_if(plan->graph.steps.begin(), plan->graph.steps.end(), tells), 1);
}

TEST(PassFuseInvertedResidual, HalvesOfABlock) {
  BlockCase test;
  test.output(test.depthwise(test.conv(test.image(8), {40, 8, 1, 1}), 40, 2));
  test.output(test.conv(test.depthwise(test.image(40), 40, 2), {8, 40, 1, 1}));
  EXPECT_EQ(test.run(kPass), 2);
  EXPECT_EQ(test.count(kFused), 2);
  EXPECT_EQ(test.count("Conv"), 0);
}

TEST(PassFuseInvertedResidual, WhatOthersReadStays) {
  BlockCase test;
  Value* a = test.conv(test.image(8), {40, 8, 1, 1});
  Value* b = test.depthwise(a, 40, 1);
  test.output(a);
  test.output(b);
  test.output(test.conv(b, {8, 40, 1, 1}));
  EXPECT_EQ(test.run(kPass), 0);
  EXPECT_EQ(test.count("Conv"), 3);
}

TEST(PassFuseInvertedResidual, OtherConvolutionsStay) {
  BlockCase test;
  // A group of several channels, and neighbours that are not 1x1.
  Value* grouped = test.conv(test.conv(test.image(8), {40, 8, 1, 1}), {40, 2, 3, 3}, with({{"group", int64_t{20}}}));
  test.output(grouped);
  test.output(test.depthwise(test.conv(test.image(8), {40, 8, 3, 3}), 40, 1));
  EXPECT_EQ(test.run(kPass), 0);
}

}  // namespace
}  // namespace hussar
