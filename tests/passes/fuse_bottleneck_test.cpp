// The last two convolutions of a bottleneck as one step.
#include "graph/bottleneck.h"
#include "ops/builder.h"
#include "tensor/convert.h"
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

constexpr DType kHalf = DType::kFloat16;

// As the passes before leave them: of halves, channels last.
struct BlockCase : GraphCase {
  Value* filter(const Shape& shape) {
    Value* value = weights(shape);
    value->constant = converted(*value->constant, kHalf);
    value->dtype = kHalf;
    return value;
  }
  Value* picture(int64_t batch, int64_t channels, int64_t side) {
    Value* x = input({Dim(batch), Dim(channels), Dim(side), Dim(side)}, kHalf);
    x->layout = Layout::kChannelsLast;
    return x;
  }
  Value* conv(Value* x, Value* filter, int64_t pad, Attributes attributes = {}) {
    attributes.set("pads", Ints{pad, pad, pad, pad});
    Value* y = make("Conv", {x, filter}, std::move(attributes));
    y->dtype = kHalf;
    y->layout = Layout::kChannelsLast;
    return y;
  }
  static void activate(Value* value, ProgramOp op) {
    Program program{};
    program.step_count = 1;
    program.steps[0].op = op;
    value->producer->program = program;
    value->producer->program_inputs = 2;
  }
  void add_shortcut(Value* value, Value* shortcut) {
    activate(value, ProgramOp::kAdd);
    value->producer->program->operand_count = 1;
    value->producer->program->steps[0].source = ProgramSource::kOperand;
    graph.append_input(value->producer, shortcut);
  }
  int fuse(int sm = 90, bool eager = false) {
    auto facts = infer_graph(graph);
    EXPECT_TRUE(facts) << facts.error().message;
    Target target;
    target.place = Place::kDevice;
    target.sm = sm;
    target.no_fp16 = {};
    const Timings nothing;
    PassContext context{graph, target, *facts, nothing, eager, nullptr, nullptr, false};
    const auto it = std::find_if(all_passes().begin(), all_passes().end(),
                                 [](const Pass* pass) { return pass->name == "fuse_bottleneck"; });
    auto rewrites = (*it)->run(context);
    EXPECT_TRUE(rewrites) << rewrites.error().message;
    graph.sweep();
    EXPECT_TRUE(graph.sort());
    EXPECT_TRUE(graph.verify());
    EXPECT_TRUE(infer_graph(graph));
    return rewrites ? *rewrites : -1;
  }
};

// Of so many pictures of 56 x 56.
BlockCase block(int64_t batch) {
  BlockCase test;
  Value* x = test.picture(batch, 64, 56);
  Value* shortcut = test.picture(batch, 256, 56);
  Value* middle = test.conv(x, test.filter({64, 64, 3, 3}), 1);
  BlockCase::activate(middle, ProgramOp::kRelu);
  Value* y = test.conv(middle, test.filter({256, 64, 1, 1}), 0);
  test.add_shortcut(y, shortcut);
  test.output(y);
  return test;
}

TEST(PassFuseBottleneck, TwoConvolutionsBecomeOneStepAndTwoAgain) {
  BlockCase test = block(32);
  EXPECT_EQ(test.fuse(), 1);
  ASSERT_EQ(test.graph.nodes().size(), 1U);
  const Node& node = *test.graph.nodes()[0];
  EXPECT_EQ(node.op, kBottleneck);
  EXPECT_EQ(node.inputs.size(), 8U);
  EXPECT_NE(node.note.find("fuse_bottleneck: fused, predicted"), std::string::npos) << node.note;
  EXPECT_TRUE(expand_node(test.graph, test.graph.nodes()[0].get()));
  EXPECT_TRUE(test.graph.sort());
  EXPECT_TRUE(infer_graph(test.graph));
  ASSERT_EQ(test.count("Conv"), 2);
  const Node &first = *test.graph.nodes()[0], &second = *test.graph.nodes()[1];
  EXPECT_EQ(first.outputs[0]->layout, Layout::kChannelsLast);
  EXPECT_EQ(first.attributes.get_ints("pads"), (Ints{1, 1, 1, 1}));
  ASSERT_TRUE(first.program && second.program);
  EXPECT_EQ(first.program->steps[0].op, ProgramOp::kRelu);
  EXPECT_EQ(second.program->steps[0].op, ProgramOp::kAdd);
  EXPECT_EQ(second.inputs.size() - second.program_inputs, 1U);
}

// Unless tuning shall measure both.
TEST(PassFuseBottleneck, FewPixelsStayApart) {
  EXPECT_EQ(block(8).fuse(), 0);
  EXPECT_EQ(block(8).fuse(90, true), 1);
  BlockCase test = block(8);
  test.fuse();
  bool is_told = false;
  for (const auto& node : test.graph.nodes())
    is_told = is_told || node->note.find("fuse_bottleneck: left apart") != std::string::npos;
  EXPECT_TRUE(is_told);
}

TEST(PassFuseBottleneck, WhatStays) {
  for (int sm : {80, 89, 100}) EXPECT_EQ(block(32).fuse(sm), 0);
  // Somebody else reads what lies between.
  BlockCase shared = block(32);
  shared.output(shared.graph.outputs[0]->producer->inputs[0]);
  EXPECT_EQ(shared.fuse(), 0);
  // Other filters, and a program of two steps.
  for (const bool is_wide : {false, true}) {
    BlockCase test;
    Value* middle =
        test.conv(test.picture(32, 64, 56), test.filter({64, 64, is_wide ? 5 : 1, is_wide ? 5 : 1}), is_wide ? 2 : 0);
    test.output(test.conv(middle, test.filter({256, 64, 1, 1}), 0));
    EXPECT_EQ(test.fuse(), 0);
  }
  BlockCase steps = block(32);
  Node* first = steps.graph.outputs[0]->producer->inputs[0]->producer;
  first->program->step_count = 2;
  first->program->steps[1].op = ProgramOp::kNeg;
  EXPECT_EQ(steps.fuse(), 0);
  BlockCase strided;
  Value* middle =
      strided.conv(strided.picture(128, 64, 56), strided.filter({64, 64, 3, 3}), 1, with({{"strides", Ints{2, 2}}}));
  strided.output(strided.conv(middle, strided.filter({256, 64, 1, 1}), 0));
  EXPECT_EQ(strided.fuse(), 0);
  // Kernels for sparse weights may be faster.
  BlockCase sparse = block(32);
  Tensor& thin = *sparse.graph.outputs[0]->producer->inputs[1]->constant;
  for (int64_t i = 0; i < thin.elements(); ++i)
    if (i % 4 < 2) thin.data<uint16_t>()[i] = 0;
  EXPECT_EQ(sparse.fuse(), 0);
}

}  // namespace
}  // namespace hussar
